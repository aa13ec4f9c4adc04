"""A store of embeddings: the same numbers as the teacher, the same bytes however it is made, and trained from alone."""

import hashlib
import json
import pickle
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import speechbrain as sb
import torch
from small_run import CLIP_S, RATE, Distillation, ToneTeacher, make_brain, make_corpora, make_features
from speechbrain.utils.epoch_loop import EpochCounter

from tests.conftest import ROOT
from tinyclap.brains import EmbeddingDistillBrain
from tinyclap.data import teacher_store
from tinyclap.data.augment import FunctionMatchingAugment
from tinyclap.data.crop_views import CropViews
from tinyclap.data.stored_sets import collate_examples, make_distillation_sets
from tinyclap.data.teacher_store import EmbeddingStore, StoredTeacher, stored_teacher
from tinyclap.errors import CheckpointError, ConfigError, ManifestError
from tinyclap.losses.distillation import CosineDistillLoss

OPTIONS = {"seed": 7, "valid_fraction": 0.3}


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    return make_corpora(tmp_path_factory.mktemp("corpus"))


@pytest.fixture
def small_shards(monkeypatch):
    """Shards of eight views."""
    monkeypatch.setattr(teacher_store, "SHARD_SIZE", 8)


def make_views(corpora, n_views=3, **changes):
    return CropViews(corpora, RATE, CLIP_S, n_views, **{**OPTIONS, **changes})


@pytest.fixture
def make(corpora, tmp_path):
    def make_store(folder="store", teacher=None, views=None, **options):
        options = {"features": make_features(), "batch_size": 4, **options}
        return EmbeddingStore(tmp_path / folder, teacher or ToneTeacher(), views or make_views(corpora), **options)

    return make_store


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def test_what_is_stored_is_what_teacher_and_front_end_say_of_each_view(make, corpora, small_shards):
    store, views, teacher, features = make().load(), make_views(corpora), ToneTeacher().load(), make_features()
    assert len(list(store.folder.glob("*.sha256"))) == -(-len(store.taught) // 8) > 2
    n_rows = 0
    for name in views.items:
        first, n_views = store.taught.place(name)
        assert n_views == len(views.views_of(name))
        for offset, view in enumerate(views.views_of(name)):
            wavs = torch.from_numpy(views.read(name, view))[None]
            embedding, log_mel = store.taught.get(first + offset), store.taught.get(first + offset, "log_mel.npy")
            assert embedding.dtype == log_mel.dtype == np.float16
            np.testing.assert_allclose(embedding, teacher.embed_audio(wavs, RATE)[0], atol=1e-3)
            np.testing.assert_allclose(log_mel, features(wavs)[0], atol=0.05)
            n_rows += 1
    assert n_rows == len(store.taught)


def test_the_sidecar_says_who_made_it_and_with_what(make):
    store = make().load()
    note = json.loads((store.folder / "store.json").read_text("utf-8"))
    assert note["teacher"] == ToneTeacher().identity() and note["embed_dim"] == 6 and note["score_kind"] == "cosine"
    assert note["text_side"] == {"kind": "tone"} and note["log_mel"] == make_features().config
    assert note["precision"] == "fp32" and note["tinyclap"]


def test_processes_make_the_same_bytes_and_what_is_missing_alone_is_made(make, small_shards):
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the processes: sums in another order differ in their last bit
    here, spawned = make("here").load(), make("spawned", n_processes=2).load()
    whole = digests(here.folder)
    assert digests(spawned.folder) == whole
    lost = sorted(spawned.folder.glob("*.sha256"))[1]
    before = {path.name: path.stat().st_mtime_ns for path in spawned.folder.iterdir() if path.stem != lost.stem}
    lost.unlink()
    make("spawned").load()
    torch.set_num_threads(n_threads)
    assert digests(spawned.folder) == whole
    after = {path.name: path.stat().st_mtime_ns for path in spawned.folder.iterdir()}
    assert {name: after[name] for name in before if not name.startswith(lost.stem)} == {
        name: time_ns for name, time_ns in before.items() if not name.startswith(lost.stem)
    }


SLOW = """
import sys, time
from pathlib import Path
sys.path[:0] = [{unit!r}, {root!r}]
import torch
torch.set_num_threads(1)
from small_run import CLIP_S, RATE, ToneTeacher, make_corpora, make_features
from tinyclap.data import teacher_store
from tinyclap.data.crop_views import CropViews
teacher_store.SHARD_SIZE = 8
class Slow(ToneTeacher):
    def embed_audio(self, wavs, sample_rate_hz):
        time.sleep(0.1)
        return super().embed_audio(wavs, sample_rate_hz)
corpora = make_corpora(Path({corpus!r}))
views = CropViews(corpora, RATE, CLIP_S, 9, seed=7, valid_fraction=0.3)
teacher_store.EmbeddingStore({folder!r}, Slow(), views, make_features(), batch_size=4).load()
"""


def test_a_store_killed_twice_ends_in_the_same_bytes(make, corpora, small_shards, tmp_path):
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    views = make_views(corpora, n_views=9)
    whole, killed = make("whole", views=views).load(), make("killed", views=views)
    places = {"unit": str(ROOT / "tests" / "unit"), "root": str(ROOT), "corpus": str(tmp_path / "corpus")}
    code, n_whole = SLOW.format(**places, folder=str(killed.folder)), 0
    for _ in range(2):
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            if len(list(killed.folder.glob("*.sha256"))) >= n_whole + 2:
                break
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        n_before, n_whole = n_whole, len(list(killed.folder.glob("*.sha256")))
        assert n_whole >= n_before + 2
    assert n_whole < len(list(whole.folder.glob("*.sha256"))), "it was killed after its end"
    killed.load()
    torch.set_num_threads(n_threads)
    wanted = digests(whole.folder)
    assert {name: digest for name, digest in digests(killed.folder).items() if name in wanted} == wanted


def test_memory_does_not_grow_with_the_store(make, corpora, small_shards, monkeypatch):
    """All rows of at most one shard are held: what is not yet written never exceeds a shard and what is read ahead."""
    waiting, most = [0], [0]
    hear, write = CropViews.hear, teacher_store.ShardMaker._made

    def heard(self, name, view):
        waiting[0] += 1
        most[0] = max(most[0], waiting[0])
        return hear(self, name, view)

    def made(self, stream):
        for n_views in write(self, stream):
            waiting[0] -= n_views
            yield n_views

    monkeypatch.setattr(CropViews, "hear", heard)
    monkeypatch.setattr(teacher_store.ShardMaker, "_made", made)
    store = make(views=make_views(corpora, n_views=12)).load()
    assert len(store.taught) > 100
    assert most[0] <= 8 + 8 + 4 * (3 + 2), "a shard, the next one begun, and the batches read ahead"


def test_mixtures_are_listed_with_their_pairs_and_weights(make, corpora):
    views = make_views(corpora, augment=FunctionMatchingAugment(mix_probability=1.0), n_views=2)
    store = make(views=views).load()
    index = json.loads(next(store.folder.glob("*_0000000.json")).read_text("utf-8"))
    assert len(index["mixtures"]) == len(index["keys"])
    for (name, view), note in zip(index["keys"], index["mixtures"], strict=True):
        assert note == ({} if view == "v" else views.hear(name, view)[1])
    assert sum("mix_db" in note for note in index["mixtures"]) == 2 * len(views.sides[0])


@pytest.mark.parametrize("kind", ["npy", "log_mel.npy", "json"])
def test_a_flipped_byte_is_found_when_the_store_is_opened_and_named(make, small_shards, kind):
    store = make().load()
    path = store.folder / f"esc50_train_crops_0000008.{kind}"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"{path.name} is missing, or has another sha256.*delete esc50_train_"):
        make().load()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"teacher": ToneTeacher(embed_dim=7)}, r"made by another teacher.*embed_dim \(6 there, 7 here\)"),
        ({"features": None}, "a store of log_mel .* this run makes log_mel None"),
        ({"precision": "bf16"}, "a store of precision fp32, this run makes precision bf16"),
    ],
)
def test_another_teacher_front_end_or_precision_is_refused(make, change, message):
    make().load()
    with pytest.raises(CheckpointError, match=message):
        make(**change).load()


def test_other_crops_are_refused_by_both_fingerprints(make, corpora):
    make().load()
    with pytest.raises(ManifestError, match=r"[0-9a-f]{16} there, [0-9a-f]{16} here. Different: n_views \(3 t"):
        make(views=make_views(corpora, n_views=4)).load()


class Forgotten(ToneTeacher):
    """A teacher whose weights are no longer there."""

    weights = "gone.pt"

    def identity(self):
        """Asks for the file."""
        raise CheckpointError("no file gone.pt")

    def _load(self):
        raise CheckpointError("no file gone.pt")


def test_a_whole_store_needs_no_weights_and_says_who_made_it(make, caplog):
    made = make().load()
    used = StoredTeacher(make(teacher=Forgotten())).load()
    assert len(used.store.taught) == len(made.taught) and used.embed_dim == 6
    assert used.text_side() == {"kind": "tone"} and used.kind == "tone"
    assert "used as it is" in caplog.text
    with pytest.raises(CheckpointError, match="no file gone.pt"):
        make("other", teacher=Forgotten()).load()


def test_tags_are_stored_where_the_teacher_has_them(make):
    class Tagging(ToneTeacher):
        def probabilities(self, wavs, sample_rate_hz):
            """Two tags."""
            return torch.stack([wavs.abs().mean(dim=1), wavs.abs().amax(dim=1)], dim=1)

    store = make(teacher=Tagging(), with_tags=True).load()
    assert store.taught.get(0, "tags.npy").shape == (2,)
    with pytest.raises(ConfigError, match="the tone teacher has no tag probabilities"):
        make(with_tags=True)


def test_workers_get_paths_and_no_numbers(make):
    store = make().load()
    row = store.taught.get(0, "log_mel.npy")
    sent = pickle.dumps(store.taught)
    again = pickle.loads(sent)
    np.testing.assert_array_equal(again.get(0, "log_mel.npy"), row)
    assert row.tobytes() not in sent


def make_sets(corpora, teacher, epoch_counter):
    """Training and validation set."""
    options = {"corpora": corpora, "sample_rate_hz": RATE, "clip_duration_s": CLIP_S, **OPTIONS}
    return make_distillation_sets(teacher, **options, epoch_counter=epoch_counter)


def asked_or_stored(corpora, tmp_path, cached):
    """The teacher, or with `cached` its store with or without log-mels."""
    if cached is None:
        return stored_teacher(None, ToneTeacher(), None, None).load()
    views, features = make_views(corpora), make_features()
    return stored_teacher(tmp_path / f"{cached}", ToneTeacher(), views, features, cached, batch_size=4).load()


def modules_of(teacher):
    return {"teacher": teacher, "distill_loss": CosineDistillLoss()}


@pytest.mark.parametrize("cached", [True, False])
def test_a_student_learns_from_a_store_alone(corpora, tmp_path, cached):
    teacher = asked_or_stored(corpora, tmp_path, cached)
    assert teacher.store.teacher is None and not list(teacher.parameters()), "the teacher is let go"
    run = Distillation(corpora, tmp_path / "run", modules=modules_of(teacher), epoch_counter=EpochCounter(limit=5))
    run.datasets = lambda: make_sets(corpora, teacher, run.brain.hparams.epoch_counter)
    run.fit()
    losses = [record["train"]["loss"] for record in run.history()]
    assert losses[-1] < losses[0] - 0.1
    assert run.brain.recover_best()["epoch"] >= 1


def test_validation_from_a_store_is_that_of_the_teacher_itself(corpora, tmp_path):
    scores = []
    for cached in (None, True, False):
        teacher = asked_or_stored(corpora, tmp_path, cached)
        brain = make_brain(EmbeddingDistillBrain, tmp_path / f"run_{cached}", modules=modules_of(teacher))
        valid = make_sets(corpora, teacher, None)["valid"]
        batch = collate_examples([valid[place] for place in range(len(valid))])
        assert (batch.log_mel is not None, batch.wav is not None) == (cached is True, cached is not True)
        brain.modules.eval()
        student, target = brain.compute_forward(batch, sb.Stage.VALID)
        scores.append(torch.nn.functional.cosine_similarity(student, target).mean().item())
    assert scores[1:] == pytest.approx([scores[0]] * 2, abs=2e-3)


def test_k_epochs_take_each_of_k_views_once_and_a_resumed_run_the_same(make, corpora):
    teacher = StoredTeacher(make()).load()

    class Counter:
        current = 0

    train = make_sets(corpora, teacher, Counter)["train"]
    taken = np.array([[train.view(index, epoch) for epoch in range(1, 13)] for index in range(len(train))])
    assert (np.sort(taken.reshape(len(train), 4, 3)) == [0, 1, 2]).all()
    assert len({tuple(row) for row in taken.tolist()}) > 1, "not all clips go through their views in one order"
    again = make_sets(corpora, teacher, Counter)["train"]
    Counter.current = 5
    for index in range(len(train)):
        np.testing.assert_array_equal(train[index]["target"], again[index]["target"])
        row = train.first_rows[index] + taken[index, 4]
        np.testing.assert_array_equal(train[index]["target"], teacher.store.taught.get(row))

"""A store is made once: the same bytes however it is made, nothing half-made, and no other teacher's words in it."""

import hashlib
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from caption_run import RATE, LoudnessTeacher, captioned, make_corpora, make_views

from tests.conftest import ROOT
from tinyclap.data import caption_shards, shards, workers
from tinyclap.data import caption_store as store_module
from tinyclap.data.augment import FunctionMatchingAugment
from tinyclap.data.caption_store import CaptionStore
from tinyclap.errors import AudioError, CheckpointError, ConfigError, ManifestError

N_VIEWS = 30  # ten clips of three windows


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    return make_corpora(tmp_path_factory.mktemp("corpus"), train=captioned(10))


@pytest.fixture
def small_shards(monkeypatch):
    """Shards of eight views, the last of six."""
    monkeypatch.setattr(caption_shards, "SHARD_SIZE", 8)


@pytest.fixture
def make(corpora, tmp_path):
    def make_store(folder="store", teacher=None, views=None, **options):
        return CaptionStore(tmp_path / folder, teacher or LoudnessTeacher(), views or make_views(corpora), **options)

    return make_store


def digests(store):
    files = sorted(path for path in store.folder.iterdir() if path.name != "store.json")
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_what_is_stored_is_what_the_teacher_says_of_each_view(make, corpora, small_shards):
    store, views, teacher = make(batch_size=5).load(), make_views(corpora), LoudnessTeacher().load()
    assert len(store.taught) == N_VIEWS and store.taught.embed_dim == 4
    assert sorted(path.name for path in store.folder.glob("*.npy")) == [
        f"toy_train_windows_{first:07d}.npy" for first in (0, 8, 16, 24)
    ]
    said = set()
    for key in views.keys():
        embedding, caption = store.get(*key)
        (wanted,), (wanted_caption,) = teacher.targets(
            [torch.from_numpy(views.read(*key))], RATE, ["clip", "caption"]
        ).values()
        assert embedding.dtype == torch.float32
        torch.testing.assert_close(embedding, wanted, atol=1e-4, rtol=1e-3)
        assert caption == wanted_caption
        said.add(caption)
    assert said == {"A quiet low tone", "A loud low tone", "A quiet high tone", "A loud high tone"}


def test_a_whole_store_asks_no_teacher_again(make, small_shards):
    first = make().load()
    before = digests(first)
    teacher = LoudnessTeacher()
    second = make(teacher=teacher).load()
    assert not teacher.is_loaded and not teacher.asked and digests(second) == before
    assert second.identity == LoudnessTeacher().identity()


def test_other_processes_and_other_batches_make_the_same_bytes(make, small_shards):
    here, elsewhere = make("here", batch_size=3).load(), make("elsewhere", n_processes=2).load()
    assert digests(here) == digests(elsewhere)
    assert len(digests(here)) == 1 + 4 * 3


def test_an_error_in_a_worker_stops_all_and_is_told_whole(make, corpora, small_shards, monkeypatch):
    n_threads = torch.get_num_threads()
    monkeypatch.setattr(workers, "ProcessPoolExecutor", ThreadPoolExecutor)  # starting processes costs seconds
    views, teacher = make_views(corpora), LoudnessTeacher()
    views.items["toy_train/c0"]["wav"] = "gone.wav"
    with pytest.raises(AudioError, match="gone.wav: no such file") as caught:
        make(views=views, teacher=teacher, n_processes=2).load()
    torch.set_num_threads(n_threads)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value), "processes pickle their errors"


def test_what_is_missing_is_made_and_nothing_else(make, small_shards):
    store = make().load()
    whole = digests(store)
    untouched = store.folder / "toy_train_windows_0000000.npy"
    (store.folder / "toy_train_windows_0000008.sha256").unlink()  # stopped before the last rename of this shard
    (store.folder / "toy_train_windows_0000008.npy").write_bytes(b"half")
    stale = store.folder / ".toy_train_windows_0000008.npy.1234.part"
    stale.write_bytes(b"of a killed run")
    os.utime(stale, (0, 0))
    before, teacher = untouched.stat().st_mtime_ns, LoudnessTeacher()
    make(teacher=teacher).load()
    assert digests(store) == whole and not stale.exists()
    assert untouched.stat().st_mtime_ns == before and len(teacher.asked) == 8


SLOW = """
import sys, time
sys.path[:0] = [{unit!r}, {root!r}]
from caption_run import LoudnessTeacher, make_corpora, make_views, captioned
from tinyclap.data import caption_shards
from tinyclap.data import caption_store as store_module
from tinyclap.data.caption_store import CaptionStore
from pathlib import Path
caption_shards.SHARD_SIZE = 8
class Slow(LoudnessTeacher):
    def _targets(self, wavs, sample_rate_hz):
        time.sleep(0.2)
        return super()._targets(wavs, sample_rate_hz)
corpora = make_corpora(Path({corpus!r}), train=captioned(10))
CaptionStore({folder!r}, Slow(), make_views(corpora), batch_size=4).load()
"""


def test_a_store_that_was_killed_ends_in_the_same_bytes(make, small_shards, tmp_path):
    whole = make("whole").load()
    killed = make("killed")
    unit = str(ROOT / "tests" / "unit")
    code = SLOW.format(unit=unit, root=str(ROOT), corpus=str(tmp_path / "corpus"), folder=str(killed.folder))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    second_shard = killed.folder / "toy_train_windows_0000008.sha256"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None and not second_shard.exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert second_shard.exists()
    n_made = len(list(killed.folder.glob("*.sha256")))
    assert n_made < 4, "it was killed after its end"
    killed.load()
    assert len(killed.teacher.asked) == N_VIEWS - 8 * n_made
    assert digests(killed) == digests(whole)


def test_a_store_of_another_teacher_is_refused_by_both_hashes(make):
    store = make().load()
    other = LoudnessTeacher(weights="other", threshold=0.3)
    with pytest.raises(CheckpointError) as caught:
        make(teacher=other).load()
    message = str(caught.value)
    for teacher in (store.teacher, other):
        assert shards.fingerprint(teacher.identity()) in message
        assert teacher.identity()["weights_sha256"] in message
    assert "made by another teacher" in message and "threshold (0.15 there, 0.3 here)" in message
    assert str(store.folder) in message and "folder of its own" in message
    assert not other.asked


def test_a_store_of_other_views_is_refused(make, corpora):
    make().load()
    with pytest.raises(ManifestError, match=r"other views of toy_train_windows.*window_s \(1.0 there, 0.5 here\)"):
        make(views=make_views(corpora, window_s=0.5)).load()
    with pytest.raises(ManifestError, match=r"n_views \(None there, 2 here\)"):
        make(views=make_views(corpora, n_views=2)).load()


def test_a_store_of_another_manifest_is_refused(make, tmp_path):
    make().load()
    fewer = make_corpora(tmp_path / "fewer", train=captioned(9))
    with pytest.raises(ManifestError, match="other clips.*of toy_train_windows.*clips .* there,.*a store of its own"):
        make(views=make_views(fewer)).load()


def test_a_store_of_another_format_is_refused(make, monkeypatch):
    make().load()
    monkeypatch.setattr(caption_shards, "FORMAT", 2)
    with pytest.raises(CheckpointError, match="store of format 1, this run makes format 2; delete the folder"):
        make().load()


@pytest.mark.parametrize("teacher", [None, LoudnessTeacher(weights=None)])
def test_without_weights_the_store_is_used_as_it_is_and_says_who_made_it(make, corpora, caplog, teacher):
    made = make().load()
    used = CaptionStore(made.folder, teacher, make_views(corpora)).load()
    assert used.get("toy_train/c0", "w0")[1] == made.get("toy_train/c0", "w0")[1]
    assert used.identity == LoudnessTeacher().identity()
    assert LoudnessTeacher().identity()["weights_sha256"] in caplog.text
    with pytest.raises(ManifestError, match="window_s"):
        CaptionStore(made.folder, teacher, make_views(corpora, window_s=0.5)).load()


def test_a_missing_store_without_weights_is_an_error_with_path_and_command(make, corpora, tmp_path, small_shards):
    def used(**options):
        return CaptionStore(tmp_path / "store", None, make_views(corpora, **options))

    with pytest.raises(
        CheckpointError, match=r"store/store.json does not exist.*python precompute.py RECIPE.yaml --teacher"
    ):
        used().load()
    store = make().load()
    (store.folder / "toy_train_windows_0000016.sha256").unlink()
    with pytest.raises(CheckpointError, match="1 of its 4 shards are missing"):
        used().load()
    with pytest.raises(CheckpointError, match="it has nothing of toy_train_mixtures"):
        used(augment=FunctionMatchingAugment(), n_views=1).load()
    assert not (store.folder / "toy_train_mixtures.json").exists()


@pytest.mark.parametrize("kind", ["npy", "json"])
def test_a_damaged_shard_is_named_with_its_remedy(make, small_shards, kind):
    store = make().load()
    path = store.folder / f"toy_train_windows_0000008.{kind}"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"{path.name} is missing, or has another sha256.*delete {path.stem}.\*"):
        make().load()
    for file in store.folder.glob(f"{path.stem}.*"):
        file.unlink()
    assert len(make().load().taught) == N_VIEWS


def test_the_checksums_are_those_of_sha256sum(make, small_shards):
    folder = make().load().folder
    for note in folder.glob("*.sha256"):
        for line in note.read_text("utf-8").splitlines():
            digest, _, name = line.partition("  ")
            assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest


def test_one_store_serves_several_manifests_and_grows_by_another(make, corpora, tmp_path):
    more = make_corpora(tmp_path / "more", name="other", train=captioned(3, duration_s=1.0))
    labelled, mixtures = make_views(corpora), make_views(more, augment=FunctionMatchingAugment(), n_views=2)
    alone = make(views=[labelled, None]).load()
    before = digests(alone)
    teacher = LoudnessTeacher()
    both = make(views=[labelled, mixtures], teacher=teacher).load()
    assert len(teacher.asked) == 6 and len(both.taught) == N_VIEWS + 6
    assert before.items() <= digests(both).items()
    assert both.get("other_train/c2", "m1")[1].endswith("tone")
    assert json.loads((both.folder / "other_train_mixtures.json").read_text("utf-8"))["kind"] == "mixtures"
    assert len(make(views=mixtures).load().taught) == 6, "a part of a store can be used alone"
    with pytest.raises(ManifestError, match="nothing of 1 views, such as 'm2' of 'other_train/c2'"):
        both.get("other_train/c2", "m2")


def test_two_kinds_of_windows_of_one_manifest_are_refused(make, corpora):
    with pytest.raises(ConfigError, match="two of the store's views are called toy_train_windows, and differ"):
        make(views=[make_views(corpora), make_views(corpora, n_views=1)]).load()


def test_a_store_of_nothing_is_refused(make):
    with pytest.raises(ConfigError, match="no clips to be made of"):
        make(views=[make_views(None)]).load()


class Answers(LoudnessTeacher):
    """A teacher that answers what it is told to."""

    def __init__(self, embeddings, captions):
        super().__init__()
        self.answer = embeddings, captions

    def _targets(self, wavs, sample_rate_hz):
        """The same answer to all."""
        return dict(zip(("clip", "caption"), self.answer, strict=True))


@pytest.mark.parametrize(
    ("embeddings", "n_captions", "message"),
    [
        (torch.full((8, 2), 1e6), 8, "not finite in float16"),
        (torch.full((8, 2), float("nan")), 8, "not finite"),
        (torch.zeros(7, 2), 8, r"8 views by \(7, 2\); it owes a row for each"),
        (torch.zeros(8, 2), 7, "7 captions"),
    ],
)
def test_a_teacher_that_answers_nonsense_is_stopped(make, embeddings, n_captions, message):
    with pytest.raises(CheckpointError, match=message):
        make(teacher=Answers(embeddings, ["x"] * n_captions)).load()


def test_a_store_can_be_made_on_a_device(make, corpora, device):
    teacher, here = LoudnessTeacher(), make("here").load()
    store = make("device", teacher=teacher, device=str(device)).load()
    assert teacher.gain.device.type == "cpu", "the device is given back"
    for key in make_views(corpora).keys():
        torch.testing.assert_close(store.get(*key)[0], here.get(*key)[0], atol=1e-3, rtol=1e-3)
        assert store.get(*key)[1] == here.get(*key)[1]


def test_a_run_without_a_teacher_has_no_store():
    assert store_module.make_store(None, teacher=None, views=[]) is None


def test_processes_and_a_device_exclude_each_other(make):
    with pytest.raises(ConfigError, match="n_processes=2 are for the CPU"):
        make(n_processes=2, device="cuda")

"""Teacher targets: what the teacher gives, live or from a cache that is made once and refuses what is not its own."""

import copy
import hashlib
import json
import pickle
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from caption_run import RATE as SLOW_RATE
from caption_run import LoudnessTeacher, WordyTeacher, captioned
from caption_run import make_corpora as make_captioned
from caption_run import make_views as make_windows
from small_run import RATE, ToneTeacher, make_features, make_views

from tinyclap.data import making
from tinyclap.data.augment import FunctionMatchingAugment
from tinyclap.data.batches import collate
from tinyclap.data.targets import TeacherTargets
from tinyclap.errors import AudioError, CheckpointError, ConfigError, ManifestError
from tinyclap.teachers.ensemble import EnsembleTeacher

COLUMNS = ("clip", "frames", "middle", "tags")


@pytest.fixture
def one_thread():
    """Sums in another order, by another number of threads, differ in their last bit."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


def digests(targets):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in targets.folder.glob("*.arrow")}


def mtimes(targets):
    return {path.name: path.stat().st_mtime_ns for path in targets.folder.iterdir()}


# What is cached -------------------------------------------------------------------------------------------------------


def test_what_is_cached_is_what_teacher_and_front_end_give_for_each_view(make, corpora):
    targets, views, teacher, features = make().load(), make_views(corpora), ToneTeacher().load(), make_features()
    assert len(digests(targets)) == -(-len(targets) // 8) > 2 and len(targets) == len(views.keys())
    assert targets.columns == COLUMNS and targets.is_cached and targets.has_log_mel and targets.embed_dim == 6
    for clip, view in views.keys():
        wavs, example = torch.from_numpy(views.read(clip, view))[None], targets.example(clip, view)
        assert list(example) == [*COLUMNS, "log_mel"]
        wanted = {**teacher.targets(wavs, RATE, COLUMNS), "log_mel": features(wavs)}
        for name, value in example.items():
            assert value.dtype == np.float16 and np.array_equal(value, targets.get(clip, view, name))
            np.testing.assert_allclose(value, wanted[name][0].detach(), atol=0.05 if name == "log_mel" else 2e-3)


def test_captions_and_word_choices_are_cached_too(make_captions, captions):
    columns, views, teacher = ("clip", "caption", "token_choices"), make_windows(captions), WordyTeacher().load()
    targets = make_captions(teacher=WordyTeacher(), columns=columns).load()
    assert targets.words == WordyTeacher.words and set(targets.values("caption")) == {
        *("A hum", "A loud low tone", "A quiet high tone", "A loud high tone")
    }
    for clip, view in views.keys():
        wanted = teacher.targets([torch.from_numpy(views.read(clip, view))], SLOW_RATE, columns)
        example, choices = targets.example(clip, view), wanted["token_choices"]
        assert example["caption"] == wanted["caption"][0]
        np.testing.assert_allclose(example["clip"], wanted["clip"][0], atol=1e-3, rtol=1e-3)
        np.testing.assert_array_equal(example["token_choices"].words, choices.words[0])
        np.testing.assert_array_equal(example["token_choices"].ids, choices.ids[0])
        np.testing.assert_allclose(example["token_choices"].log_probs, choices.log_probs[0], atol=1e-2)


def test_the_note_says_what_the_targets_depend_on(make, corpora):
    targets = make().load()
    note = json.loads((targets.folder / "targets.json").read_text("utf-8"))
    assert note["teacher"] == ToneTeacher().identity() == targets.identity and note["log_mel"] == make_features().config
    assert note["columns"] == [*COLUMNS, "log_mel"] and note["precision"] == "fp32" and note["tinyclap"]
    assert note["views"]["esc50_train_crops"]["seed"] == 7
    assert targets.text_side() == {"kind": "tone"} and targets.score_kind == "cosine" and targets.kind == "tone"


def test_mixtures_are_listed_with_their_clips_and_levels(make, corpora):
    augment = FunctionMatchingAugment(mix_probability=1.0)
    views = make_views(corpora, augment=augment)
    targets, n_mixtures = make(views=views).load(), 0
    for path in targets.folder.glob("*.arrow"):
        for row in pd.read_feather(path).itertuples():
            note = json.loads(row.note) if row.note else {}
            assert note == views.read_with_note(row.clip_id, row.view)[1]
            n_mixtures += "mix_db" in note
    assert n_mixtures == 2 * len(views.train_items)


def test_an_ensemble_fills_one_cache_and_is_listed_whole(make):
    teachers = [ToneTeacher(), ToneTeacher()]
    torch.nn.init.normal_(teachers[1].head.weight)
    targets = make(teacher=EnsembleTeacher(teachers, [0.25, 0.75]), columns=("clip",)).load()
    assert json.dumps(targets.identity).count('"tone"') == 2
    with pytest.raises(CheckpointError, match="another target cache: teacher"):
        make(teacher=EnsembleTeacher(teachers, [0.5, 0.5]), columns=("clip",)).load()


# How it is made -------------------------------------------------------------------------------------------------------


def test_processes_and_readers_make_the_same_bytes(make, one_thread):
    wanted = digests(make("here").load())
    assert len(wanted) > 2
    for folder, options in (("spawned", {"n_processes": 2}), ("readers", {"n_readers": 2})):
        assert digests(make(folder, **options).load()) == wanted


def test_what_is_missing_is_made_and_nothing_else(make_captions):
    targets = make_captions().load()
    wanted, before = digests(targets), mtimes(targets)
    first, second = (targets.folder / f"toy_train_windows_{first:07d}" for first in (8, 16))
    first.with_suffix(".sha256").unlink()  # killed before the checksum was written
    first.with_suffix(".arrow").write_bytes(b"half")
    second.with_suffix(".arrow").unlink()
    teacher = LoudnessTeacher()
    again = make_captions(teacher=teacher).load()
    assert digests(again) == wanted and len(teacher.asked) == 16
    changed = {name for name, time_ns in mtimes(again).items() if before.get(name) != time_ns}
    assert {name.partition(".")[0] for name in changed} == {first.name, second.name}


def test_a_whole_cache_runs_no_teacher(make_captions):
    before, teacher = mtimes(make_captions().load()), LoudnessTeacher()
    targets = make_captions(teacher=teacher).load()
    assert not teacher.is_loaded and not teacher.asked and mtimes(targets) == before
    assert targets.teacher is None, "the teacher is let go"


def test_one_cache_serves_several_manifests_and_grows_by_another(make_captions, captions, tmp_path):
    more = make_captioned(tmp_path / "more", name="other", train=captioned(6, duration_s=1.0))
    options = {"kind": "mixtures", "augment": FunctionMatchingAugment(), "n_views": 2, "valid_fraction": 0.3}
    labelled, mixtures = make_windows(captions), make_windows(more, **options)
    wanted, teacher = digests(make_captions(views=[labelled, None]).load()), LoudnessTeacher()
    both = make_captions(views=[labelled, mixtures], teacher=teacher).load()
    assert len(teacher.asked) == len(mixtures.keys()) and len(both) == 30 + len(teacher.asked)
    assert wanted.items() <= digests(both).items()
    assert both.get(*mixtures.keys()[-1], "caption").endswith("tone")
    assert len(make_captions(views=mixtures).load()) == len(teacher.asked), "a part of a cache can be used alone"
    with pytest.raises(ManifestError, match="no view 'm2' of 'other_train/"):
        both.get(mixtures.keys("train")[0][0], "m2", "caption")


def test_no_more_than_a_shard_is_held_in_memory(make, corpora, monkeypatch):
    views, waiting, most = make_views(corpora, n_views=12), [0], [0]
    read, write = type(views).read_with_note, "tinyclap.data.making.write_shard"

    def reading(self, *key):
        waiting[0] += 1
        most[0] = max(most[0], waiting[0])
        return read(self, *key)

    def written(path, batches, write=making.write_shard):
        waiting[0] -= sum(batch.num_rows for batch in batches)
        write(path, batches)

    monkeypatch.setattr(type(views), "read_with_note", reading)
    monkeypatch.setattr(write, written)
    assert len(make(views=views).load()) > 100
    assert most[0] <= 8 + 4


def test_a_broken_recording_is_named_as_it_is(make_captions, captions, tmp_path):
    broken = make_captioned(tmp_path / "broken", train=captioned(10))
    (tmp_path / "broken" / "toy" / "train" / "c4.wav").write_bytes(b"no audio")
    for options in ({}, {"n_readers": 1}):
        with pytest.raises(AudioError, match=r"c4\.wav"):
            make_captions("broken_cache", views=make_windows(broken), **options).load()


def test_a_cache_can_be_made_on_a_device(make_captions, captions, device):
    teacher, here = LoudnessTeacher(), make_captions("here").load()
    targets = make_captions("device", teacher=teacher, device=str(device)).load()
    assert teacher.gain.device.type == device.type
    for key in make_windows(captions).keys():
        np.testing.assert_allclose(targets.get(*key, "clip"), here.get(*key, "clip"), atol=1e-3, rtol=1e-3)
        assert targets.get(*key, "caption") == here.get(*key, "caption")


def test_processes_and_a_device_exclude_each_other(make):
    with pytest.raises(ConfigError, match="n_processes=2 are for the CPU"):
        make(n_processes=2, device="cuda")
    make(n_processes=2, device="cpu")


# In training ----------------------------------------------------------------------------------------------------------


def test_live_and_cached_targets_of_a_batch_are_the_same(make, corpora):
    views, cached = make_views(corpora), make().load()
    live = TeacherTargets(ToneTeacher(), views, COLUMNS).load()
    assert (
        not live.is_cached and live.columns == COLUMNS and live.embed_dim == 6 and live.text_side() == {"kind": "tone"}
    )
    keys = views.keys()[:5]
    here = live(collate([{"wav": views.read(*key)} for key in keys]))
    there = cached(collate([cached.example(*key) for key in keys]).to("cpu"))
    assert list(here) == list(there) == list(COLUMNS)
    for name in COLUMNS:
        assert not here[name].requires_grad
        torch.testing.assert_close(there[name], here[name], atol=2e-3, rtol=2e-3)


def test_live_windows_are_given_without_their_padding(captions):
    views = make_windows(captions)
    live = TeacherTargets(LoudnessTeacher(), views, ("clip", "caption")).load()
    wavs = [views.read("toy_train/c1", "w0"), views.read("toy_train/c1", "w1")[:700]]
    given = live(collate([{"wav": wav} for wav in wavs]))
    assert live.teacher.asked == [1000, 700] and len(given["caption"]) == 2


def test_text_embeddings_are_the_live_teacher_s_alone(make, corpora):
    class Texts(ToneTeacher):
        def embed_text(self, texts):
            """As many rows."""
            return torch.ones(len(texts), self.embed_dim)

    assert TeacherTargets(Texts(), make_views(corpora)).load().embed_text(["a", "b"]).shape == (2, 6)
    with pytest.raises(ConfigError, match="keeps no text embeddings.*weight of 0.*--target_cache null"):
        make(teacher=Texts()).load().embed_text(["a"])


def test_without_teacher_and_folder_there_are_no_targets(captions):
    targets = TeacherTargets(None, make_windows(captions), ("clip", "caption")).load()
    assert targets.columns == () and not targets.is_cached and targets(SimpleNamespace()) == {}


def test_precision_holds_live_and_cached(make, corpora):
    class Counted(ToneTeacher):
        def _to_bf16(self):
            self.n_conversions = getattr(self, "n_conversions", 0) + 1

    teachers = Counted(), Counted()
    TeacherTargets(teachers[0], make_views(corpora), precision="bf16").load()
    make(teacher=teachers[1], precision="bf16").load()
    assert [teacher.n_conversions for teacher in teachers] == [1, 1]


def test_loader_workers_get_paths_and_no_numbers(make):
    targets = make().load()
    key = targets.views[0].keys()[0]
    row = targets.get(*key, "log_mel")
    sent = pickle.dumps(targets)
    np.testing.assert_array_equal(pickle.loads(sent).get(*key, "log_mel"), row)
    assert row.tobytes() not in sent


def test_cached_targets_hold_neither_teacher_nor_front_end(make):
    targets = make().load()
    assert not list(targets.parameters()) and not list(targets.buffers()) and copy.deepcopy(targets).is_cached

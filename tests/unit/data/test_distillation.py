"""Examples of a distillation: cached views and live crops, as functions of seed, epoch and index."""

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from torch.utils.data import DataLoader

from tinyclap.data.augment import FunctionMatchingAugment
from tinyclap.data.batches import EpochSampler, collate
from tinyclap.data.corpora import Corpora, Corpus
from tinyclap.data.distillation import make_distillation_sets
from tinyclap.data.manifest import write_manifest
from tinyclap.data.views import Views
from tinyclap.errors import ConfigError, ManifestError

RATE = 1000
FIVE, ONE = ["a", "b", "c", "d", "e"], ["f"]


def ramp(n_samples):
    """Samples that say where they were."""
    return np.arange(n_samples, dtype=np.float32) / 8192


def manifest(folder, split, clips):
    """Write clips, name → (samples, captions), and their manifest."""
    entries = {}
    for name, (samples, captions) in clips.items():
        soundfile.write(folder / f"{name}.wav", samples, RATE, subtype="FLOAT")
        entries[name] = {"wav": f"{{data_root}}/{name}.wav", "duration_s": len(samples) / RATE}
        entries[name] |= {"sample_rate_hz": RATE, "n_channels": 1, **({"captions": captions} if captions else {})}
    meta = {"dataset": "toy", "version": "1", "split": split, "classes": [], "options": {}, "code_version": "1"}
    write_manifest(folder / f"toy_{split}.json", entries, meta)


@pytest.fixture
def make_views(tmp_path):
    """Views of three training clips, of five captions, one, and (a clip shorter than a crop) two; two of validation."""

    def make(captions=True, parts=("train", "valid"), **options):
        train = {"five": (ramp(3000), FIVE), "one": (ramp(2000), ONE), "ä": (ramp(400), ["g", "h"])}
        clips = {"train": train, "valid": {"v0": (ramp(1500), ["v"]), "v1": (ramp(900), ["w"])}}
        if not captions:
            clips = {part: {name: (wav, None) for name, (wav, _) in of.items()} for part, of in clips.items()}
        for part in parts:
            manifest(tmp_path, part, clips[part])
        corpus = Corpus("toy", tmp_path, print, **{part: {"split": part} for part in parts})
        return Views(Corpora([corpus], tmp_path), RATE, 0.5, **{"kind": "crops", "n_views": 3, "seed": 9, **options})

    return make


LIVE = SimpleNamespace(is_cached=False)  # targets of a teacher that runs in every step


class Cached:
    """Targets of a cache: a view's embedding is its number; `log_mel` too, where it is asked for."""

    is_cached = True

    def __init__(self, log_mel=False):
        self.log_mel = log_mel

    def example(self, clip, view):
        """Columns of a view."""
        number = np.array([float(view[1:] or -1)], np.float16)
        return {"clip": number, **({"log_mel": np.full((4, 3), number[0])} if self.log_mel else {})}


def examples(dataset, *epochs):
    """Examples of some epochs, as (clip, example)."""
    return [(e["id"].split("/")[1], e) for epoch in epochs for e in (dataset[epoch, i] for i in range(len(dataset)))]


def views_of(dataset, clip, *epochs):
    return [int(example["clip"][0]) for name, example in examples(dataset, *epochs) if name == clip]


# Cached ---------------------------------------------------------------------------------------------------------------


def test_k_epochs_take_each_of_a_clip_s_k_views_once(make_views):
    train = make_distillation_sets(Cached(), make_views(), seed=5)["train"]
    assert len(train) == 3
    for first in (1, 4, 7):
        assert sorted(views_of(train, "five", first, first + 1, first + 2)) == [0, 1, 2]
    assert views_of(train, "ä", 1, 2, 3) == [0, 0, 0], "no longer than a crop: one view"
    orders = {tuple(views_of(make_distillation_sets(Cached(), make_views(), seed)["train"], "five", *range(1, 10)))
              for seed in range(8)}  # fmt: skip
    assert len(orders) > 4, "another seed takes them in another order"


def test_an_epoch_of_views_takes_all_of_them(make_views):
    train = make_distillation_sets(Cached(), make_views(), seed=5, epoch="views")["train"]
    assert len(train) == 3 + 3 + 1
    for epoch in (1, 2):
        assert sorted(views_of(train, "five", epoch)) == [0, 1, 2] and views_of(train, "ä", epoch) == [0]


def test_visits_of_a_clip_s_captions_take_different_views(make_views):
    train = make_distillation_sets(Cached(), make_views(), seed=5, repeat_by_captions=True)["train"]
    assert len(train) == 5 + 1 + 2
    visits = views_of(train, "five", 1, 2, 3)
    assert len(visits) == 15 and all(sorted(visits[first : first + 3]) == [0, 1, 2] for first in range(0, 15, 3))
    once = make_distillation_sets(Cached(), make_views(), seed=5)["train"]
    assert views_of(train, "one", 1, 2, 3) == views_of(once, "one", 1, 2, 3)


def test_the_audio_of_a_cached_view_is_read_where_there_is_no_log_mel(make_views):
    views = make_views()
    for clip, example in examples(make_distillation_sets(Cached(), views, seed=5)["train"], 1, 2, 3):
        wanted = views.read(f"toy_train/{clip}", f"c{int(example['clip'][0])}")
        assert np.array_equal(example["wav"], wanted) and "texts" not in example
    (_, example), *_ = examples(make_distillation_sets(Cached(log_mel=True), views, seed=5)["train"], 1)
    assert set(example) == {"id", "clip", "log_mel"}


# Live -----------------------------------------------------------------------------------------------------------------


def test_a_live_crop_is_the_same_for_a_seed_an_epoch_and_a_clip(make_views):
    first = dict(examples(make_distillation_sets(LIVE, make_views(), seed=5)["train"], 3))
    again = make_distillation_sets(None, make_views(), seed=5)["train"]
    for index in reversed(range(len(again))):  # a resumed run reads from the middle
        example = again[3, index]
        wanted = first[example["id"].split("/")[1]]
        assert np.array_equal(example["wav"], wanted["wav"]) and example["texts"] == wanted["texts"]
    others = [
        examples(make_distillation_sets(None, make_views(), seed)["train"], epoch) for seed, epoch in ((5, 4), (6, 3))
    ]
    for other in others:
        assert not np.array_equal(dict(other)["five"]["wav"], first["five"]["wav"])


def test_each_visit_of_a_live_clip_is_another_crop_with_the_next_caption(make_views):
    train = make_distillation_sets(None, make_views(), seed=5, repeat_by_captions=True)["train"]
    for epoch in (1, 2):
        five = [example for clip, example in examples(train, epoch) if clip == "five"]
        assert [example["texts"] for example in five] == FIVE
        assert len({float(example["wav"][0]) for example in five}) == 5, "places of their own"
    views = make_distillation_sets(None, make_views(), seed=5, epoch="views")["train"]
    assert len({float(e["wav"][0]) for clip, e in examples(views, 1, 2) if clip == "five"}) == 6


def test_captions_are_chosen_anew_each_epoch_and_given_only_where_all_clips_have_some(make_views):
    train = make_distillation_sets(None, make_views(), seed=5)["train"]
    chosen = [example["texts"] for clip, example in examples(train, *range(1, 30)) if clip == "five"]
    assert set(chosen) == set(FIVE)
    without = make_distillation_sets(LIVE, make_views(captions=False), seed=5, repeat_by_captions=True)["train"]
    assert len(without) == 3 and all("texts" not in example for _, example in examples(without, 1))


def test_mixtures_are_for_training_alone(make_views):
    level = {f"{name}_probability": 0.0 for name in ("speed", "eq", "mix", "splice", "noise")}
    augment = FunctionMatchingAugment(**level, level_db=(-6.0, -6.0))
    sets = make_distillation_sets(None, make_views(kind="mixtures", augment=augment), seed=5)
    rms = {part: [float(np.sqrt(np.mean(e["wav"] ** 2))) for _, e in examples(sets[part], 1)] for part in sets}
    assert [round(value, 2) for value in rms["train"]] == [0.5] * 3 and max(rms["valid"]) < 0.2


# Both -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("targets", [Cached(), None], ids=["cached", "live"])
def test_validation_is_the_same_in_every_epoch_of_every_run(make_views, targets):
    epochs = [examples(make_distillation_sets(targets, make_views(), seed)["valid"], epoch)
              for seed, epoch in ((5, 1), (5, 9), (6, 2))]  # fmt: skip
    assert [clip for clip, _ in epochs[0]] == ["v0", "v1"]
    for other in epochs[1:]:
        for (_, one), (_, two) in zip(epochs[0], other, strict=True):
            assert np.array_equal(one["wav"], two["wav"]) and one.get("texts") == two.get("texts")
    assert len(make_distillation_sets(targets, make_views(), 5, repeat_by_captions=True)["valid"]) == 2


@pytest.mark.parametrize("targets", [Cached(), None], ids=["cached", "live"])
def test_the_number_of_workers_changes_nothing(make_views, targets):
    train = make_distillation_sets(targets, make_views(), seed=5)["train"]
    epochs = []
    for n_workers in (0, 2):
        sampler = EpochSampler(len(train), seed=5)
        sampler.set_epoch(2)
        loader = DataLoader(train, 2, sampler=sampler, collate_fn=collate, num_workers=n_workers)
        epochs.append([(batch.id, batch.texts, batch.wavs.tolist()) for batch in loader])
    assert epochs[0] == epochs[1]


def test_a_dataset_that_a_spawned_worker_gets_is_the_same(make_views):
    train = make_distillation_sets(Cached(), make_views(), seed=5)["train"]
    sent = pickle.loads(pickle.dumps(train))
    for (one, first), (two, second) in zip(examples(train, 4), examples(sent, 4), strict=True):
        assert one == two and np.array_equal(first["wav"], second["wav"])


def test_options_that_mean_nothing_are_refused(make_views):
    with pytest.raises(ConfigError, match="epoch='crops'; choose one of clips, views"):
        make_distillation_sets(None, make_views(), 5, epoch="crops")
    with pytest.raises(ConfigError, match="give one of them"):
        make_distillation_sets(None, make_views(), 5, epoch="views", repeat_by_captions=True)


def test_without_a_teacher_every_clip_needs_a_caption(make_views):
    with pytest.raises(ManifestError, match="5 clips have no caption, such as toy_train/five, .* leave their corpora"):
        make_distillation_sets(None, make_views(captions=False), 5)


def test_a_run_without_validation_clips_is_refused(make_views):
    views = make_views(kind="windows", n_views=None, parts=["train"])
    with pytest.raises(ManifestError, match="3 training and 0 validation clips"):
        make_distillation_sets(None, views, 5)

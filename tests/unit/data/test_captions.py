"""Caption sets: examples as functions of seed, epoch and index; labels where they are; bad captions said clearly."""

import logging
import pickle
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from caption_run import RATE, LoudnessTeacher, captioned, make_corpora, make_views
from torch.utils.data import DataLoader

from tinyclap.audio.io import read_audio
from tinyclap.data.augment import FunctionMatchingAugment
from tinyclap.data.batches import EpochSampler, collate
from tinyclap.data.captions import choose_labelled, make_caption_sets
from tinyclap.data.targets import TeacherTargets
from tinyclap.errors import CheckpointError, ConfigError, ManifestError
from tinyclap.text.tokenizer import WordTokenizer

N_LABELLED, N_UNLABELLED = 10, 8  # clips of three windows; clips of two
CAPTIONS = [caption for *_, facts in captioned(40).values() for caption in facts["captions"]]
TEACHER_CAPTIONS = [f"a {loudness} {height} tone" for loudness in ("loud", "quiet") for height in ("high", "low")]
TOKENIZER = WordTokenizer.from_captions([*CAPTIONS, *TEACHER_CAPTIONS])


def targets_of(folder, views, teacher=None):
    return TeacherTargets(teacher or LoudnessTeacher(), views, ["clip", "caption"], folder)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Views of labelled and of unlabelled clips, and their cached targets."""
    folder = tmp_path_factory.mktemp("corpora")
    valid = {**captioned(4, first=30, duration_s=1.5), "minute": (60.0, 90, 0.2, {"captions": ["A tone"]})}
    labelled = make_views(make_corpora(folder / "a", train=captioned(N_LABELLED), valid=valid))
    audio = {f"u{index}": (2.0, 50 + 40 * index, 0.3, {}) for index in range(N_UNLABELLED)}
    unlabelled = make_views(make_corpora(folder / "b", name="audio", train=audio), valid_fraction=0.25)
    targets = targets_of(folder / "targets", [labelled, unlabelled]).load()
    TOKENIZER.save(folder / "vocabulary.json")
    return SimpleNamespace(
        labelled=labelled, unlabelled=unlabelled, targets=targets, vocabulary=folder / "vocabulary.json"
    )


def sets_of(place, **options):
    wanted = {"labelled": place.labelled, "unlabelled": place.unlabelled, "targets": place.targets, "seed": 3}
    return make_caption_sets(**{**wanted, "vocabulary": place.vocabulary, "sample_rate_hz": RATE, **options})


def train_of(place, **options):
    return sets_of(place, **options)["train"]


def rows_of(dataset, *epochs):
    return [row for epoch in epochs or (1,) for index in range(len(dataset)) for row in dataset[epoch, index]]


def labelled_rows(dataset, *epochs):
    return [row for row in rows_of(dataset, *epochs) if "ids" in row]


def same(first, second):
    """Whether two batches are equal to the last bit."""
    return first.keys() == second.keys() and all(
        torch.equal(value, second[name]) if isinstance(value, torch.Tensor) else value == second[name]
        for name, value in first.items()
    )


def batches(dataset, epoch=2, first=0, n_workers=0):
    sampler = EpochSampler(len(dataset), seed=3, shuffle=False)
    sampler.set_epoch(epoch)
    return list(DataLoader(dataset, 4, sampler=list(sampler)[first:], collate_fn=collate, num_workers=n_workers))


# Examples -------------------------------------------------------------------------------------------------------------


def test_an_example_is_a_function_of_seed_epoch_and_index(place):
    run, again = train_of(place), train_of(place)
    wanted = [collate([run[2, index]]) for index in range(len(run))]
    for index in reversed(range(len(again))):  # what was read before does not matter
        assert same(collate([again[2, index]]), wanted[index])
    for other, epoch in ((run, 1), (train_of(place, seed=4), 2)):
        assert not all(same(collate([other[epoch, index]]), wanted[index]) for index in range(len(run)))


def test_workers_and_a_resumed_epoch_give_the_same_batches(place):
    dataset = train_of(place)
    wanted = batches(dataset)
    assert [batch.n_labelled for batch in wanted] == [4, 4, 2]
    for batch, other in zip(batches(dataset, n_workers=2), wanted, strict=True):
        assert same(batch, other)
    sent = pickle.loads(pickle.dumps(dataset))  # as a loader that spawns its workers does
    assert same(batches(sent)[0], wanted[0])
    for batch, other in zip(batches(train_of(place), first=4), wanted[1:], strict=True):
        assert same(batch, other)


def test_ranks_share_an_epoch_without_overlap(place):
    dataset = train_of(place)
    names = []
    for rank in (0, 1):
        sampler = EpochSampler(len(dataset), seed=3, rank=rank, world_size=2)
        sampler.set_epoch(1)
        names += [row["id"] for key in sampler for row in dataset[key] if "ids" in row]
    assert sorted(names) == sorted(place.labelled.train_items)


def test_each_labelled_clip_comes_once_an_epoch_in_an_order_of_its_own(place):
    dataset = train_of(place)
    orders = [tuple(row["id"] for row in labelled_rows(dataset, epoch)) for epoch in (1, 2, 3)]
    assert all(sorted(order) == sorted(place.labelled.train_items) for order in orders)
    assert len(set(orders)) == 3


def test_all_captions_and_all_windows_come_with_time(place):
    rows = labelled_rows(train_of(place, targets=None), *range(1, 30))
    first = [row for row in rows if row["id"] == "toy_train/c0"]
    captions = {TOKENIZER.decode(row["ids"]) for row in first}
    assert captions == {f"tone 0 sounds sentence {number}" for number in range(3)}
    windows = {place.labelled.read("toy_train/c0", f"w{index}").tobytes() for index in range(3)}
    assert {row["wav"].tobytes() for row in first} == windows
    assert first[0]["references"] == [f"Tone 0 sounds, sentence {number}." for number in range(3)]


def test_one_item_a_caption_has_all_of_them_in_every_epoch(place):
    dataset = train_of(place, one_item_a_caption=True)
    assert len(dataset) == 3 * N_LABELLED
    for epoch in (1, 2):
        rows = labelled_rows(dataset, epoch)
        assert Counter(row["id"] for row in rows) == dict.fromkeys(place.labelled.train_items, 3)
        captions = [TOKENIZER.decode(row["ids"]) for row in rows if row["id"] == "toy_train/c4"]
        assert sorted(captions) == [f"tone 4 sounds sentence {number}" for number in range(3)]
    half = train_of(place, one_item_a_caption=True, labelled_fraction=0.5)
    assert len(half) == 15 and len({row["id"] for row in labelled_rows(half)}) == 5


def test_unlabelled_views_come_equally_often(place):
    n_views = len(place.unlabelled.train_items) * 2
    assert 0 < n_views < N_UNLABELLED * 2
    dataset = train_of(place, unlabelled_per_labelled=2)
    rows = [row for row in rows_of(dataset, *range(1, n_views + 1)) if "ids" not in row]
    assert len(rows) == n_views * N_LABELLED * 2
    clips = {place.unlabelled.read(*key).tobytes(): key for key in place.unlabelled.keys("train")}
    counts = Counter(clips[row["wav"].tobytes()] for row in rows)
    assert len(counts) == n_views and set(counts.values()) == {20}


def test_a_row_has_the_teacher_s_output_for_its_own_window(place):
    teacher = LoudnessTeacher().load()
    rows = rows_of(train_of(place))
    assert len(rows) == 2 * N_LABELLED
    for row in rows:
        wanted = teacher.targets([torch.from_numpy(row["wav"])], RATE, ["clip", "caption"])
        np.testing.assert_allclose(row["clip"], wanted["clip"][0], atol=1e-3, rtol=1e-3)
        assert row["caption"] == wanted["caption"][0]
        assert row["teacher_ids"].tolist() == TOKENIZER.encode(row["caption"])
        assert "ids" in row or row["references"] == [row["caption"]]


def test_an_epoch_of_another_length_goes_on_where_the_last_one_stopped(place):
    dataset = train_of(place, examples_per_epoch=4)
    assert len(dataset) == 4
    names = [row["id"] for row in labelled_rows(dataset, 1, 2, 3, 4, 5)]
    assert sorted(names[:10]) == sorted(names[10:]) == sorted(place.labelled.train_items)
    many = labelled_rows(train_of(place, examples_per_epoch=25))
    assert sorted(row["id"] for row in many[10:20]) == sorted(place.labelled.train_items)


def test_audio_alone_is_enough(place):
    sets = sets_of(place, labelled=None, unlabelled_per_labelled=3)
    n_views = len(place.unlabelled.train_items) * 2
    assert len(sets["train"]) == -(-n_views // 3)
    batch = collate([sets["train"][0], sets["train"][1]])
    assert batch.n_labelled == 0 and batch.wavs.shape == (6, 1000) and batch.ids.shape == (0, 0)
    assert len(sets["valid"]) == len(place.unlabelled.valid_items) * 2 > 0
    (row,) = sets["valid"][0]
    assert row["id"] in place.unlabelled.valid_items
    assert row["references"] == [place.targets.get(row["id"], "w0", "caption")]


# Batches --------------------------------------------------------------------------------------------------------------


def test_a_batch_has_its_labelled_rows_first_and_is_padded(place):
    dataset = train_of(place, sample_rate_hz=2000)
    batch = collate([dataset[index] for index in range(3)]).to("cpu")
    assert batch.n_labelled == 3 and len(batch.id) == len(batch.references) == 6
    assert all(name.startswith("toy") for name in batch.id[:3])
    assert all(name.startswith("audio") for name in batch.id[3:])
    assert batch.wavs.shape == (6, 2000) and batch.n_samples.tolist() == [2000] * 6
    assert batch.ids.shape == (3, 7) and batch.ids.dtype == torch.int64
    assert (batch.ids[:, 0] == TOKENIZER.start_id).all() and (batch.ids[:, -1] == TOKENIZER.end_id).all()
    assert batch.teacher_ids.shape == (6, 6) and batch.clip.shape == (6, 4) and batch.clip.dtype == torch.float32


def test_clips_and_captions_of_several_lengths_are_padded(place, tmp_path):
    clips = {"a": (0.5, 100, 0.2, {"captions": ["one"]}), "b": (1.0, 100, 0.2, {"captions": ["one two three"]})}
    views = make_views(make_corpora(tmp_path, train=clips, valid=clips))
    tokenizer = WordTokenizer.from_captions(["one two three"])
    tokenizer.save(tmp_path / "words.json")
    dataset = train_of(place, labelled=views, unlabelled=None, targets=None, vocabulary=tmp_path / "words.json")
    batch = collate([dataset[0], dataset[1]])
    short = batch.id.index("toy_train/a")
    assert batch.n_samples[short] == 500 and batch.wavs.shape == (2, 1000)
    assert not batch.wavs[short, 500:].any() and batch.wavs[short, :500].any()
    assert batch.ids[short].tolist() == [*tokenizer.encode("one"), tokenizer.pad_id, tokenizer.pad_id]


def test_without_a_teacher_there_are_no_targets_and_no_unlabelled_rows(place):
    for targets in (None, TeacherTargets(None, place.labelled)):
        batch = collate([train_of(place, targets=targets)[0]])
        assert (batch.teacher_ids, batch.clip) == (None, None)
        assert batch.n_labelled == len(batch.wavs) == 1
    assert len(collate([train_of(place, unlabelled_per_labelled=0)[0]]).wavs) == 1


def test_embeddings_alone_are_targets_too(place, tmp_path):
    targets = TeacherTargets(LoudnessTeacher(), [place.labelled, place.unlabelled], ["clip"], tmp_path).load()
    batch = collate([train_of(place, targets=targets)[0]])
    assert batch.clip.shape == (2, 4) and batch.teacher_ids is None and batch.references[1] == []
    with pytest.raises(ManifestError, match="nothing to validate on"):
        sets_of(place, labelled=None, targets=targets)


# Labels ---------------------------------------------------------------------------------------------------------------


def test_small_labelled_parts_lie_inside_larger_ones_and_are_exact():
    items = {f"c{index}": {"group": f"g{index // 5}"} for index in range(200)}
    parts = [set(choose_labelled(items, fraction, seed=1)) for fraction in (0.1, 0.25, 0.5, 1.0)]
    assert [len(part) for part in parts] == [20, 50, 100, 200]
    assert parts[0] < parts[1] < parts[2] < parts[3]
    assert len({items[name]["group"] for name in parts[0]}) == 4, "whole recordings, not one clip of each"
    assert set(choose_labelled(items, 0.1, seed=2)) != parts[0]
    assert len(choose_labelled(items, 1e-6, seed=1)) == 1 and choose_labelled(items, 0.0, seed=1) == []
    assert choose_labelled({}, 0.5, seed=1) == []


def test_the_rest_of_the_labelled_clips_joins_the_unlabelled(place):
    dataset = train_of(place, labelled_fraction=0.5, rest_as_unlabelled=True, unlabelled_per_labelled=6)
    rows = rows_of(dataset)
    with_captions = {row["id"] for row in rows if "ids" in row}
    without = {row["id"] for row in rows if "ids" not in row and row["id"].startswith("toy")}
    assert len(dataset) == len(with_captions) == 5 and len(without) == 5
    assert with_captions | without == set(place.labelled.train_items)
    left_out = train_of(place, labelled_fraction=0.5, unlabelled_per_labelled=6)
    assert not any(row["id"].startswith("toy") for row in rows_of(left_out) if "ids" not in row)


# Validation -----------------------------------------------------------------------------------------------------------


def test_validation_is_on_whole_clips_up_to_a_length_and_the_same_in_every_run(place):
    valid = sets_of(place, seed=1, valid_max_s=30.0)["valid"]
    rows = rows_of(valid)
    assert [len(row["wav"]) for row in rows] == [1500] * 4 + [30000]
    first, _ = read_audio(place.labelled.valid_items[rows[0]["id"]]["wav"])
    np.testing.assert_array_equal(rows[0]["wav"], first)
    assert len(rows[0]["references"]) == 3 and TOKENIZER.decode(rows[0]["ids"]).startswith("tone 3")
    other = rows_of(sets_of(place, seed=2)["valid"], 5)
    assert [row["ids"].tolist() for row in rows] == [row["ids"].tolist() for row in other]
    assert collate([valid[0], valid[4]]).teacher_ids is None


def test_a_few_validation_clips_are_the_same_few_in_every_run(place):
    few = [rows_of(sets_of(place, seed=seed, valid_max_clips=2)["valid"]) for seed in (1, 2)]
    assert [row["id"] for row in few[0]] == [row["id"] for row in few[1]] and len(few[0]) == 2


def test_recordings_can_be_held_out_of_the_labelled_ones(place, tmp_path):
    views = make_views(make_corpora(tmp_path, train=captioned(20)), valid_fraction=0.3)
    sets = sets_of(place, labelled=views, unlabelled=None, targets=None)
    trained, held = {row["id"] for row in rows_of(sets["train"])}, {row["id"] for row in rows_of(sets["valid"])}
    assert trained == set(views.train_items) and held == set(views.valid_items) and trained and held
    groups = [{items[name]["group"] for name in items} for items in (views.train_items, views.valid_items)]
    assert not groups[0] & groups[1]


# What can be wrong ----------------------------------------------------------------------------------------------------


def test_unknown_words_and_cut_captions_are_counted_once(place, tmp_path, caplog):
    long = " ".join(["tone"] * 60)
    clips = {"a": (1.0, 100, 0.2, {"captions": ["A zebra sounds"]}), "b": (1.0, 100, 0.2, {"captions": [long]})}
    views = make_views(make_corpora(tmp_path, train=clips, valid=captioned(2)))
    caplog.set_level(logging.INFO, "tinyclap.data.captions")
    dataset = train_of(place, labelled=views, unlabelled=None, targets=None)
    by_name = {row["id"]: row["ids"].tolist() for row in rows_of(dataset, 1, 2)}
    assert by_name["toy_train/a"][2] == TOKENIZER.unk_id
    tone = TOKENIZER.encode("tone")[1]
    assert by_name["toy_train/b"] == [TOKENIZER.start_id, *[tone] * 20, TOKENIZER.end_id]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "the training captions (2): 1 of 63 words" in record.message and "become <unk> (zebra …)" in record.message
    assert "1 are cut at 20 words, 0 have no word" in record.message


def test_a_teachers_words_outside_the_vocabulary_are_counted_too(place, tmp_path, caplog):
    tokenizer = WordTokenizer.from_captions(["a tone sounds"])
    tokenizer.save(tmp_path / "words.json")
    row = rows_of(train_of(place, vocabulary=tmp_path / "words.json"))[0]
    assert row["teacher_ids"].tolist() == tokenizer.encode("a <unk> <unk> tone")
    assert row["teacher_ids"][2:4].tolist() == [tokenizer.unk_id] * 2
    n_views = N_LABELLED * 3 + N_UNLABELLED * 2
    assert f"the teacher's captions ({n_views}): {2 * n_views} of {4 * n_views} words are not" in caplog.text


def test_a_clip_of_a_minute_is_read_in_windows(place, tmp_path):
    clips = {"minute": (60.0, 100, 0.2, {"captions": ["a tone"]})}
    views = make_views(make_corpora(tmp_path, train=clips, valid=captioned(2)), duration_s=10.0)
    dataset = train_of(place, labelled=views, unlabelled=None, targets=None, examples_per_epoch=60)
    windows = {row["wav"].tobytes() for row in rows_of(dataset)}
    assert windows == {views.read("toy_train/minute", f"w{index}").tobytes() for index in range(6)}


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"captions": ["A tone", "..."]}, r"1 captions have no word, such as toy_train/bad: '...'"),
        ({}, "1 clips have no caption, such as toy_train/bad"),
    ],
)
def test_a_labelled_clip_without_words_is_named(place, tmp_path, facts, message):
    clips = {**captioned(2), "bad": (1.0, 100, 0.2, facts)}
    views = make_views(make_corpora(tmp_path, train=clips, valid=captioned(2)))
    with pytest.raises(ManifestError, match=f"{message}.*Fix the corpus' table"):
        sets_of(place, labelled=views, targets=None)


def test_nothing_to_train_or_to_validate_on_is_said(place, tmp_path):
    with pytest.raises(ManifestError, match="nothing to train on"):
        sets_of(place, labelled=None, targets=None)
    with pytest.raises(ManifestError, match="nothing to train on"):
        sets_of(place, labelled_fraction=0.0, unlabelled=None)
    whole = make_views(place.unlabelled.corpora)
    with pytest.raises(ManifestError, match="nothing to validate on"):
        sets_of(place, labelled=None, unlabelled=whole, targets=targets_of(tmp_path, whole).load())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labelled_fraction": 1.5}, "labelled_fraction=1.5"),
        ({"examples_per_epoch": 0}, "examples_per_epoch=0; it is a whole number from 1 on"),
        ({"examples_per_epoch": 8.5}, "examples_per_epoch=8.5"),
        ({"valid_max_clips": -1}, "valid_max_clips=-1"),
        ({"unlabelled_per_labelled": -1}, "unlabelled_per_labelled=-1"),
        ({"unlabelled_per_labelled": 0.5}, "unlabelled_per_labelled=0.5"),
        ({"max_words": 0}, "max_words=0"),
    ],
)
def test_options_that_mean_nothing_are_refused(place, options, message):
    with pytest.raises(ConfigError, match=message):
        sets_of(place, **options)


def test_views_and_teachers_that_do_not_fit_are_refused(place):
    mixtures = make_views(place.labelled.corpora, kind="mixtures", augment=FunctionMatchingAugment(), n_views=1)
    with pytest.raises(ConfigError, match="labelled views are mixtures"):
        sets_of(place, labelled=mixtures)
    with pytest.raises(ConfigError, match="cached teacher targets"):
        sets_of(place, targets=targets_of(None, place.labelled))


def test_a_cache_that_lacks_or_misfits_the_views_is_refused_before_training(place, tmp_path):
    half = targets_of(tmp_path / "half", place.unlabelled).load()
    with pytest.raises(ManifestError, match="toy_train/c"):
        sets_of(place, targets=half)
    missing = TeacherTargets(None, [place.labelled, place.unlabelled], ["clip", "caption"], tmp_path / "missing")
    with pytest.raises(CheckpointError, match=r"missing/targets.json does not exist"):
        missing.load()

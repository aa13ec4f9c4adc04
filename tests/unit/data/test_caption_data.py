"""Caption batches: a function of seed, epoch and index; labels where they are; bad captions said clearly."""

import logging
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from caption_run import RATE, LoudnessTeacher, captioned, make_corpora, make_views
from torch.utils.data import DataLoader, DistributedSampler

from tinyclap.audio.io import read_audio
from tinyclap.data.augment import FunctionMatchingAugment
from tinyclap.data.caption_store import CaptionStore
from tinyclap.data.captions import choose_labelled, collate_captions, make_caption_sets
from tinyclap.errors import CheckpointError, ConfigError, ManifestError
from tinyclap.text.tokenizer import WordTokenizer

N_LABELLED, N_UNLABELLED = 10, 8  # clips of three windows; clips of two
CAPTIONS = [caption for *_, facts in captioned(40).values() for caption in facts["captions"]]
SAID = [f"a {loudness} {height} tone" for loudness in ("loud", "quiet") for height in ("high", "low")]
TOKENIZER = WordTokenizer.from_captions([*CAPTIONS, *SAID])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Views of labelled and of unlabelled clips, and their store."""
    folder = tmp_path_factory.mktemp("corpora")
    valid = {**captioned(4, first=30, duration_s=1.5), "minute": (60.0, 90, 0.2, {"captions": ["A tone"]})}
    labelled = make_views(make_corpora(folder / "a", train=captioned(N_LABELLED), valid=valid))
    audio = {f"u{index}": (2.0, 50 + 40 * index, 0.3, {}) for index in range(N_UNLABELLED)}
    unlabelled = make_views(make_corpora(folder / "b", name="audio", train=audio), valid_fraction=0.25)
    store = CaptionStore(folder / "store", LoudnessTeacher(), [labelled, unlabelled]).load()
    return SimpleNamespace(labelled=labelled, unlabelled=unlabelled, store=store)


def sets_of(place, epoch=1, **options):
    wanted = {"labelled": place.labelled, "unlabelled": place.unlabelled, "store": place.store, "seed": 3}
    wanted |= {"tokenizer": TOKENIZER, "sample_rate_hz": RATE, "epoch_counter": SimpleNamespace(current=epoch)}
    return make_caption_sets(**{**wanted, **options})


def train_of(place, epoch=1, **options):
    return sets_of(place, epoch, **options)["train"]


def rows_of(dataset):
    return [row for index in range(len(dataset)) for row in dataset[index].rows]


def labelled_rows(dataset):
    return [row for row in rows_of(dataset) if row.ids is not None]


def same(first, second):
    """Whether two batches are equal to the last bit."""
    return all(
        torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other
        for one, other in zip(first, second, strict=True)
    )


# Examples -------------------------------------------------------------------------------------------------------------


def test_an_example_is_a_function_of_seed_epoch_and_index(place):
    run, again = train_of(place, epoch=2), train_of(place, epoch=2)
    wanted = [collate_captions([run[index]]) for index in range(len(run))]
    for index in reversed(range(len(again))):  # what was read before does not matter
        assert same(collate_captions([again[index]]), wanted[index])
    for other in (train_of(place, epoch=1), train_of(place, epoch=2, seed=4)):
        assert not all(same(collate_captions([other[index]]), wanted[index]) for index in range(len(run)))


def test_workers_and_a_resumed_epoch_give_the_same_batches(place):
    dataset = train_of(place, epoch=2)
    options = {"batch_size": 4, "collate_fn": collate_captions}
    wanted = list(DataLoader(dataset, **options))
    assert [batch.n_labelled for batch in wanted] == [4, 4, 2]
    for batch, other in zip(DataLoader(dataset, num_workers=2, **options), wanted, strict=True):
        assert same(batch, other)
    sent = pickle.loads(pickle.dumps(dataset))  # as a loader that spawns its workers does
    assert same(collate_captions([sent[index] for index in range(4)]), wanted[0])
    resumed = DataLoader(train_of(place, epoch=2), sampler=range(4, 10), **options)
    for batch, other in zip(resumed, wanted[1:], strict=True):
        assert same(batch, other)


def test_ranks_share_an_epoch_without_overlap(place):
    dataset = train_of(place)
    names = []
    for rank in (0, 1):
        sampler = DistributedSampler(dataset, num_replicas=2, rank=rank, shuffle=True)
        names += [row.name for index in sampler for row in dataset[index].rows if row.ids is not None]
    assert sorted(names) == sorted(place.labelled.items)


def test_each_labelled_clip_comes_once_an_epoch_in_an_order_of_its_own(place):
    orders = [tuple(row.name for row in labelled_rows(train_of(place, epoch))) for epoch in (1, 2, 3)]
    assert all(sorted(order) == sorted(place.labelled.items) for order in orders)
    assert len(set(orders)) == 3


def test_all_captions_and_all_windows_come_with_time(place):
    rows = [row for epoch in range(1, 30) for row in labelled_rows(train_of(place, epoch, store=None))]
    first = [row for row in rows if row.name == "toy_train/c0"]
    said = {TOKENIZER.decode(row.ids) for row in first}
    assert said == {f"tone 0 sounds sentence {number}" for number in range(3)}
    windows = {place.labelled.read("toy_train/c0", f"w{index}").tobytes() for index in range(3)}
    assert {row.wav.numpy().tobytes() for row in first} == windows
    assert first[0].references == [f"Tone 0 sounds, sentence {number}." for number in range(3)]


def test_unlabelled_views_come_equally_often(place):
    n_views = len(place.unlabelled.sides[0]) * 2
    assert 0 < n_views < N_UNLABELLED * 2
    heard = []
    for epoch in range(1, n_views + 1):
        heard += [row for row in rows_of(train_of(place, epoch, unlabelled_per_labelled=2)) if row.ids is None]
    assert len(heard) == n_views * N_LABELLED * 2
    counts = {key: 0 for key in place.unlabelled.keys(place.unlabelled.sides[0])}
    sounds = {place.unlabelled.read(*key).tobytes(): key for key in counts}
    for row in heard:
        counts[sounds[row.wav.numpy().tobytes()]] += 1
    assert set(counts.values()) == {20}


def test_a_row_has_what_the_teacher_said_of_the_window_it_hears(place):
    teacher = LoudnessTeacher().load()
    rows = rows_of(train_of(place))
    assert len(rows) == 2 * N_LABELLED
    for row in rows:
        (embedding,), (caption,) = teacher.targets([row.wav], RATE, ["clip", "caption"]).values()
        torch.testing.assert_close(row.teacher_embedding, embedding, atol=1e-3, rtol=1e-3)
        assert row.teacher_ids == TOKENIZER.encode(caption)
        assert row.ids is not None or row.references == [caption]


def test_an_epoch_of_another_length_goes_on_where_the_last_one_stopped(place):
    names = []
    for epoch in (1, 2, 3, 4, 5):
        dataset = train_of(place, epoch, examples_per_epoch=4)
        assert len(dataset) == 4
        names += [row.name for row in labelled_rows(dataset)]
    assert sorted(names[:10]) == sorted(names[10:]) == sorted(place.labelled.items)
    many = labelled_rows(train_of(place, examples_per_epoch=25))
    assert sorted(row.name for row in many[10:20]) == sorted(place.labelled.items)


def test_audio_alone_is_enough(place):
    sets = sets_of(place, labelled=None, unlabelled_per_labelled=3)
    n_views = len(place.unlabelled.sides[0]) * 2
    assert len(sets["train"]) == -(-n_views // 3)
    batch = collate_captions([sets["train"][0], sets["train"][1]])
    assert batch.n_labelled == 0 and batch.wavs.shape == (6, 1000) and batch.ids.shape == (0, 0)
    assert len(sets["valid"]) == len(place.unlabelled.sides[1]) * 2 > 0
    (row,) = sets["valid"][0].rows
    assert row.name in place.unlabelled.sides[1] and row.references == [place.store.get(row.name, "w0")[1]]


# Batches --------------------------------------------------------------------------------------------------------------


def test_a_batch_has_its_labelled_rows_first_and_is_padded(place):
    dataset = train_of(place, sample_rate_hz=2000)
    batch = collate_captions([dataset[index] for index in range(3)]).to("cpu")
    assert batch.n_labelled == 3 and len(batch.names) == len(batch.references) == 6
    assert all(name.startswith("toy") for name in batch.names[:3])
    assert all(name.startswith("audio") for name in batch.names[3:])
    assert batch.wavs.shape == (6, 2000) and batch.n_samples.tolist() == [2000] * 6
    assert batch.ids.shape == (3, 7) and batch.ids.dtype == torch.int64
    assert (batch.ids[:, 0] == TOKENIZER.start_id).all() and (batch.ids[:, -1] == TOKENIZER.end_id).all()
    assert batch.teacher_ids.shape == (6, 6) and batch.teacher_embedding.shape == (6, 4)
    assert batch.teacher_embedding.dtype == torch.float32


def test_clips_and_captions_of_several_lengths_are_padded(place, tmp_path):
    clips = {"a": (0.5, 100, 0.2, {"captions": ["one"]}), "b": (1.0, 100, 0.2, {"captions": ["one two three"]})}
    views = make_views(make_corpora(tmp_path, train=clips, valid=clips))
    tokenizer = WordTokenizer.from_captions(["one two three"])
    dataset = train_of(place, labelled=views, unlabelled=None, store=None, tokenizer=tokenizer)
    batch = collate_captions([dataset[0], dataset[1]])
    short = batch.names.index("toy_train/a")
    assert batch.n_samples[short] == 500 and batch.wavs.shape == (2, 1000)
    assert not batch.wavs[short, 500:].any() and batch.wavs[short, :500].any()
    one = tokenizer.encode("one")
    assert batch.ids[short].tolist() == [*one, tokenizer.pad_id, tokenizer.pad_id]


def test_without_a_store_there_is_no_teacher_and_no_unlabelled_row(place):
    batch = collate_captions([train_of(place, store=None)[0]])
    assert (batch.teacher_ids, batch.teacher_embedding) == (None, None)
    assert batch.n_labelled == len(batch.wavs) == 1
    assert len(collate_captions([train_of(place, unlabelled_per_labelled=0)[0]]).wavs) == 1


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
    with_captions = {row.name for row in rows if row.ids is not None}
    without = {row.name for row in rows if row.ids is None and row.name.startswith("toy")}
    assert len(dataset) == len(with_captions) == 5 and len(without) == 5
    assert with_captions | without == set(place.labelled.items)
    left_out = train_of(place, labelled_fraction=0.5, unlabelled_per_labelled=6)
    assert not any(row.name.startswith("toy") for row in rows_of(left_out) if row.ids is None)


# Validation -----------------------------------------------------------------------------------------------------------


def test_validation_is_on_whole_clips_up_to_a_length_and_the_same_in_every_run(place):
    valid = sets_of(place, epoch=1, seed=1, valid_max_s=30.0)["valid"]
    rows = rows_of(valid)
    assert [len(row.wav) for row in rows] == [1500] * 4 + [30000]
    first, _ = read_audio(place.labelled.valid_items()[rows[0].name]["wav"])
    np.testing.assert_array_equal(rows[0].wav, first)
    assert len(rows[0].references) == 3 and TOKENIZER.decode(rows[0].ids).startswith("tone 3")
    other = rows_of(sets_of(place, epoch=5, seed=2)["valid"])
    assert [row.ids for row in rows] == [row.ids for row in other]
    assert collate_captions([valid[0], valid[4]]).teacher_ids is None


def test_a_few_validation_clips_are_the_same_few_in_every_run(place):
    few = [rows_of(sets_of(place, seed=seed, valid_max_clips=2)["valid"]) for seed in (1, 2)]
    assert [row.name for row in few[0]] == [row.name for row in few[1]] and len(few[0]) == 2


def test_recordings_can_be_held_out_of_the_labelled_ones(place, tmp_path):
    views = make_views(make_corpora(tmp_path, train=captioned(20)), valid_fraction=0.3)
    sets = sets_of(place, labelled=views, unlabelled=None, store=None)
    trained, held = {row.name for row in rows_of(sets["train"])}, {row.name for row in rows_of(sets["valid"])}
    assert trained | held == set(views.items) and not trained & held and trained and held
    assert not {views.items[name]["group"] for name in trained} & {views.items[name]["group"] for name in held}


# What can be wrong ----------------------------------------------------------------------------------------------------


def test_unknown_words_and_cut_captions_are_counted_once(place, tmp_path, caplog):
    long = " ".join(["tone"] * 60)
    clips = {"a": (1.0, 100, 0.2, {"captions": ["A zebra sounds"]}), "b": (1.0, 100, 0.2, {"captions": [long]})}
    views = make_views(make_corpora(tmp_path, train=clips, valid=captioned(2)))
    caplog.set_level(logging.INFO, "tinyclap.data.captions")
    dataset = train_of(place, labelled=views, unlabelled=None, store=None)
    by_name = {row.name: row.ids for row in rows_of(dataset) + rows_of(dataset)}
    assert by_name["toy_train/a"][2] == TOKENIZER.unk_id
    tone = TOKENIZER.encode("tone")[1]
    assert by_name["toy_train/b"] == [TOKENIZER.start_id, *[tone] * 20, TOKENIZER.end_id]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "the training captions (2): 1 of 63 words" in record.message and "become <unk> (zebra …)" in record.message
    assert "1 are cut at 20 words, 0 have no word" in record.message


def test_a_teachers_words_outside_the_vocabulary_are_counted_too(place, caplog):
    tokenizer = WordTokenizer.from_captions(["a tone sounds"])
    row = rows_of(train_of(place, tokenizer=tokenizer))[0]
    assert row.teacher_ids == tokenizer.encode("a <unk> <unk> tone")
    assert row.teacher_ids[2:4] == [tokenizer.unk_id] * 2
    n_views = N_LABELLED * 3 + N_UNLABELLED * 2
    assert f"the teacher's captions ({n_views}): {2 * n_views} of {4 * n_views} words are not" in caplog.text


def test_a_clip_of_a_minute_is_heard_in_windows(place, tmp_path):
    clips = {"minute": (60.0, 100, 0.2, {"captions": ["a tone"]})}
    views = make_views(make_corpora(tmp_path, train=clips, valid=captioned(2)), window_s=10.0)
    dataset = train_of(place, labelled=views, unlabelled=None, store=None, examples_per_epoch=60)
    heard = {row.wav.numpy().tobytes() for row in rows_of(dataset)}
    assert heard == {views.read("toy_train/minute", f"w{index}").tobytes() for index in range(6)}


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
    with pytest.raises(ManifestError, match=f"{message}.*Mend the corpus' table"):
        sets_of(place, labelled=views, store=None)


def test_nothing_to_train_or_to_validate_on_is_said(place):
    with pytest.raises(ManifestError, match="nothing to train on"):
        sets_of(place, labelled=None, store=None)
    with pytest.raises(ManifestError, match="nothing to train on"):
        sets_of(place, labelled_fraction=0.0, unlabelled=None)
    whole = make_views(place.unlabelled.corpora)
    with pytest.raises(ManifestError, match="nothing to validate on"):
        sets_of(place, labelled=None, unlabelled=whole)


def test_options_that_contradict_each_other_are_refused(place):
    with pytest.raises(ConfigError, match="labelled_fraction=1.5"):
        sets_of(place, labelled_fraction=1.5)
    mixtures = make_views(place.labelled.corpora, augment=FunctionMatchingAugment(), n_views=1)
    with pytest.raises(ConfigError, match="labelled views are mixtures"):
        sets_of(place, labelled=mixtures)
    rows = [train_of(place)[0], train_of(place, store=None)[0]]
    with pytest.raises(ConfigError, match="some clips of a batch have a teacher's caption"):
        collate_captions(rows)


def test_a_store_that_lacks_or_misfits_the_views_is_refused_before_training(place, tmp_path):
    half = CaptionStore(tmp_path / "half", LoudnessTeacher(), place.unlabelled)
    with pytest.raises(
        ManifestError, match="the caption store has nothing of 30 views, such as 'w0' of 'toy_train/c0'"
    ):
        sets_of(place, store=half)
    missing = CaptionStore(tmp_path / "missing", None, [place.labelled, place.unlabelled])
    with pytest.raises(CheckpointError, match=r"missing/store.json does not exist.*--teacher_weights"):
        sets_of(place, store=missing)
    other = CaptionStore(place.store.folder, LoudnessTeacher(threshold=0.5), [place.labelled, place.unlabelled])
    with pytest.raises(CheckpointError, match="made by another teacher"):
        sets_of(place, store=other)

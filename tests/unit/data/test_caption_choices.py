"""Word choices: stored as surely as captions are, and read in the words of the student, each in its place."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from caption_run import RATE, LoudnessTeacher, WordyTeacher, captioned, make_corpora, make_views

from tinyclap.data import caption_shards
from tinyclap.data.caption_choices import StudentChoices, TaughtChoices
from tinyclap.data.caption_store import CaptionStore
from tinyclap.data.captions import collate_captions, make_caption_sets
from tinyclap.errors import CheckpointError
from tinyclap.text.tokenizer import WordTokenizer

N_VIEWS = 30  # ten clips of three windows


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    return make_corpora(tmp_path_factory.mktemp("corpus"), train=captioned(10), valid=captioned(2, first=30))


@pytest.fixture
def make(corpora, tmp_path, monkeypatch):
    monkeypatch.setattr(caption_shards, "SHARD_SIZE", 8)

    def make_store(folder="store", teacher=None, **options):
        return CaptionStore(tmp_path / folder, teacher or WordyTeacher(), make_views(corpora), **options)

    return make_store


# The store ------------------------------------------------------------------------------------------------------------


def test_what_is_stored_is_what_the_teacher_could_have_said(make, corpora):
    store, views, teacher = make(batch_size=3).load(), make_views(corpora), WordyTeacher().load()
    assert sorted(path.name for path in store.folder.glob("*.npz")) == [
        f"toy_train_windows_{first:07d}.npz" for first in (0, 8, 16, 24)
    ]
    assert store.taught.choices.words == WordyTeacher.words
    lengths = set()
    for key in views.keys():
        _, (caption,), wanted = teacher.targets(
            [torch.from_numpy(views.read(*key))], RATE, ["clip", "caption", "token_choices"]
        ).values()
        said, ids, log_probs = store.taught.choices.row(store.taught.row(*key))
        assert store.get(*key)[1] == caption
        assert said.tolist() == wanted.words[0].tolist() and ids.tolist() == wanted.ids[0].tolist()
        np.testing.assert_allclose(log_probs, wanted.log_probs[0], rtol=2e-3, atol=1e-3)
        lengths.add(len(said))
    assert lengths == {3, 5}, "what fills a batch is not stored"


def test_captions_and_embeddings_are_the_same_with_and_without_word_choices(make, corpora):
    class Silent(WordyTeacher):
        def __init__(self):
            super().__init__(n_word_choices=0)

    wordy, silent = make("wordy").load(), make("silent", Silent()).load()
    for key in make_views(corpora).keys():
        assert torch.equal(wordy.get(*key)[0], silent.get(*key)[0]) and wordy.get(*key)[1] == silent.get(*key)[1]
    assert silent.taught.choices is None and not list(silent.folder.glob("*.npz"))
    note = json.loads((silent.folder / "store.json").read_text("utf-8"))
    assert set(note) == {"format", "shard_size", "teacher"} and not (silent.folder / "words.json").exists()


def test_other_processes_other_batches_and_other_days_make_the_same_bytes(make, monkeypatch):
    here = make("here", batch_size=3).load().folder
    monkeypatch.setattr("time.time", lambda: 2e9)
    elsewhere = make("elsewhere", n_processes=2).load().folder
    names = sorted(path.name for path in here.iterdir())
    assert names == sorted(path.name for path in elsewhere.iterdir()) and len(names) == 3 + 4 * 4
    assert all((here / name).read_bytes() == (elsewhere / name).read_bytes() for name in names)


def test_a_whole_store_needs_no_teacher(make, corpora):
    made, teacher = make().load(), WordyTeacher()
    assert make(teacher=teacher).load() and not teacher.is_loaded
    used = CaptionStore(made.folder, None, make_views(corpora)).load()
    for mine, theirs in zip(used.taught.choices.row(0), made.taught.choices.row(0), strict=True):
        assert np.array_equal(mine, theirs)


def test_a_store_can_be_made_on_a_device(make, device):
    here, there = make("here").load().taught.choices, make("device", device=str(device)).load().taught.choices
    assert np.array_equal(here.said, there.said) and here.ids.shape == there.ids.shape
    np.testing.assert_allclose(here.log_probs, there.log_probs, atol=0.01)


def test_teachers_with_and_without_word_choices_do_not_share_a_store(make):
    make("wordy").load()
    make("plain", LoudnessTeacher()).load()
    says = r"made by another teacher.*n_word_choices \({} there, {} here\).*a folder of its own"
    with pytest.raises(CheckpointError, match=says.format(3, "nothing")):
        make("wordy", LoudnessTeacher()).load()
    with pytest.raises(CheckpointError, match=says.format(3, 2)):
        make("wordy", WordyTeacher(2)).load()
    with pytest.raises(CheckpointError, match=says.format("nothing", 3)):
        make("plain").load()


def test_damaged_word_choices_are_named_with_their_remedy(make):
    folder = make().load().folder
    path = folder / "toy_train_windows_0000008.npz"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"x")
    with pytest.raises(CheckpointError, match=rf"{path.name} is missing, or has another sha256.*delete {path.stem}.\*"):
        make().load()
    for file in folder.glob(f"{path.stem}.*"):
        file.unlink()
    teacher = WordyTeacher()
    make(teacher=teacher).load()
    assert len(teacher.asked) == 8 and path.read_bytes() == whole
    words = (folder / "words.json").read_text("utf-8")
    (folder / "words.json").write_text(words.replace("hum", "him"), encoding="utf-8")
    with pytest.raises(CheckpointError, match="words.json is missing, or has another sha256.*bring it back, or delete"):
        make().load()
    (folder / "words.json").write_text(words, encoding="utf-8")
    assert len(make().load().taught) == N_VIEWS


class Answers(WordyTeacher):
    """It changes its word choices as it is told to."""

    def __init__(self, change):
        super().__init__()
        self.change = change

    def _targets(self, wavs, sample_rate_hz):
        found = super()._targets(wavs, sample_rate_hz)
        choices = found["token_choices"]
        return {**found, "token_choices": choices._replace(**self.change(choices))}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda choices: {"ids": choices.ids[:-1]}, r"answered 8 views by word choices of shape \(7, 5, 3\)"),
        (lambda choices: {"log_probs": choices.log_probs[..., :2]}, r"log-probabilities of shape \(8, 5, 2\)"),
        (lambda choices: {"log_probs": choices.log_probs - 1e6}, r"choices for \('toy_train/c0', 'w0'\) are not fin"),
        (lambda choices: {"ids": choices.ids + 9}, "up to the id 1[0-9], its vocabulary has 11 words"),
    ],
)
def test_a_teacher_that_answers_nonsense_is_stopped(make, change, message):
    with pytest.raises(CheckpointError, match=message):
        make(teacher=Answers(change)).load()


# The student's words --------------------------------------------------------------------------------------------------

TEACHER_WORDS = ["<pad>", "<start>", "<end>", "<unk>", "a", "Dog", "rain-soaked", "--", "zebra", "cat", "barks"]
STUDENT = WordTokenizer.from_captions(["a dog barks", "a cat", "rain soaked"])
A, DOG, CAT, BARKS = (STUDENT.encode(word)[1] for word in ("a", "dog", "cat", "barks"))


def choices_of(*places):
    """Of one caption: the word of each place, and the words that were possible with their probabilities."""
    ids = [[TEACHER_WORDS.index(word) for word in possible] for _, possible in places]
    log_probs = np.log([list(possible.values()) for _, possible in places]).astype(np.float16)
    said = np.array([TEACHER_WORDS.index(word) for word, _ in places])
    arrays = {"said": said, "ids": np.array(ids), "log_probs": log_probs, "n_words": np.array([len(places)])}
    return StudentChoices(TaughtChoices([arrays], TEACHER_WORDS), STUDENT)


def test_a_word_that_the_student_lacks_loses_its_share_to_the_others():
    choices = choices_of(
        ("a", {"a": 0.6, "zebra": 0.3, "Dog": 0.06}),
        ("zebra", {"zebra": 0.9, "rain-soaked": 0.05, "<start>": 0.05}),
        ("<end>", {"<end>": 0.8, "<unk>": 0.1, "cat": 0.1}),
    )
    ids, probabilities = choices.targets(0, 3)
    assert ids.dtype == torch.int64 and probabilities.dtype == torch.float32
    assert ids.tolist() == [
        [A, STUDENT.pad_id, DOG],
        [STUDENT.pad_id] * 3,
        [STUDENT.end_id, STUDENT.unk_id, CAT],
    ]
    wanted = torch.tensor([[0.6 / 0.66, 0, 0.06 / 0.66], [0, 0, 0], [0.8, 0.1, 0.1]])
    torch.testing.assert_close(probabilities, wanted, atol=1e-3, rtol=1e-3)
    assert choices.report() == (
        "the 3 most probable words hold 98.7% of the teacher's probability, 55.3% are on words that the student has "
        "(5 of 11 it lacks), 1 of 3 places have no target"
    )


def said(*words):
    return choices_of(*((word, {word: 0.9, "a": 0.05} if word != "a" else {"a": 0.9, "cat": 0.05}) for word in words))


def firsts(choices, n_places):
    """The first word of each place, None where there is no target."""
    ids, probabilities = choices.targets(0, n_places)
    assert ids.shape == probabilities.shape == (n_places, 2)
    return [int(row[0]) if any(shares) else None for row, shares in zip(ids, probabilities.tolist(), strict=True)]


def test_each_target_stands_where_the_student_reads_the_word():
    caption = ("a", "rain-soaked", "--", "<pad>", "Dog", "barks", "<end>")
    n_places = len(STUDENT.encode("a rain-soaked -- Dog barks")) - 1
    assert firsts(said(*caption), n_places) == [A, None, None, DOG, BARKS, STUDENT.end_id]
    assert firsts(said("<end>"), 1) == [STUDENT.end_id]


def test_a_caption_that_was_cut_has_no_target_for_its_end():
    assert firsts(said("a", "Dog", "barks"), 4) == [A, DOG, BARKS, None], "by the teacher"
    assert firsts(said("a", "Dog", "barks", "<end>"), 3) == [A, DOG, None], "by the student"
    assert firsts(said("a", "Dog", "barks"), 3) == [A, DOG, None], "by both"
    assert firsts(said("a", "rain-soaked", "<end>"), 3) == [A, None, None], "inside a word of the teacher"


# Batches --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def train(make, corpora):
    tokenizer = WordTokenizer.from_captions(["a loud high low tone hum"])

    def train_of(store, **options):
        counter = SimpleNamespace(current=1)
        return make_caption_sets(make_views(corpora), None, tokenizer, RATE, 3, counter, store, **options)["train"]

    return SimpleNamespace(of=train_of, tokenizer=tokenizer)


def test_a_batch_has_a_target_for_each_word_of_the_teacher_s_captions(make, train):
    batch = collate_captions([train.of(make())[index] for index in range(10)]).to("cpu")
    assert batch.choice_ids.shape == batch.choice_probs.shape == (*batch.teacher_ids[:, 1:].shape, 3)
    assert batch.choice_ids.dtype == torch.int64 and batch.choice_probs.dtype == torch.float32
    words = batch.teacher_ids[:, 1:]
    has_target = batch.choice_probs.sum(-1)
    assert not has_target[words == train.tokenizer.pad_id].any() and (words == train.tokenizer.pad_id).any()
    torch.testing.assert_close(has_target[has_target > 0], torch.ones(int((has_target > 0).sum())))
    assert (has_target[words == train.tokenizer.end_id] > 0).all()
    loud = batch.teacher_ids == train.tokenizer.encode("loud")[1]
    best = batch.choice_ids.gather(2, batch.choice_probs.argmax(-1, keepdim=True))[..., 0]
    assert loud.any() and (best[loud[:, 1:]] == batch.teacher_ids[loud]).all()


def test_a_store_without_word_choices_gives_batches_without_them(make, train):
    batch = collate_captions([train.of(make("plain", LoudnessTeacher()))[0]])
    assert batch.teacher_ids is not None and (batch.choice_ids, batch.choice_probs) == (None, None)


def test_how_much_the_student_cannot_take_up_is_said_once(make, train, caplog):
    caplog.set_level("INFO", "tinyclap.data.captions")
    train.of(make(), max_words=2)
    (line,) = [record.message for record in caplog.records if "most probable words" in record.message]
    assert line.startswith("the 3 most probable words hold ") and "(3 of 11 it lacks)" in line

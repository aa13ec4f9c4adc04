"""A teacher's word choices in the words of the student, each in its place."""

import numpy as np
import pytest
import torch
from caption_run import RATE, WordyTeacher, captioned, make_corpora, make_views

from tinyclap.data.batches import collate
from tinyclap.data.captions import make_caption_sets
from tinyclap.data.targets import TeacherTargets
from tinyclap.decoding.beam_search import WordChoices
from tinyclap.decoding.token_choices import StudentChoices
from tinyclap.errors import ConfigError
from tinyclap.text.tokenizer import WordTokenizer

# The student's words --------------------------------------------------------------------------------------------------

TEACHER_WORDS = ["<pad>", "<start>", "<end>", "<unk>", "a", "Dog", "rain-soaked", "--", "zebra", "cat", "barks"]
STUDENT = WordTokenizer.from_captions(["a dog barks", "a cat", "rain soaked"])
A, DOG, CAT, BARKS = (STUDENT.encode(word)[1] for word in ("a", "dog", "cat", "barks"))


def choices_of(*places):
    """Of one caption: the word of each place, and the words that were possible with their probabilities."""
    ids = [[TEACHER_WORDS.index(word) for word in possible] for _, possible in places]
    log_probs = np.log([list(possible.values()) for _, possible in places]).astype(np.float16)
    words = np.array([TEACHER_WORDS.index(word) for word, _ in places])
    return WordChoices(words, np.array(ids), log_probs, len(places))


MAP = StudentChoices(TEACHER_WORDS, STUDENT)


def test_a_word_that_the_student_lacks_loses_its_probability_to_the_others():
    choices = choices_of(
        ("a", {"a": 0.6, "zebra": 0.3, "Dog": 0.06}),
        ("zebra", {"zebra": 0.9, "rain-soaked": 0.05, "<start>": 0.05}),
        ("<end>", {"<end>": 0.8, "<unk>": 0.1, "cat": 0.1}),
    )
    ids, probabilities = MAP.targets(choices, 3)
    assert ids.dtype == np.int64 and probabilities.dtype == np.float32
    assert ids.tolist() == [
        [A, STUDENT.pad_id, DOG],
        [STUDENT.pad_id] * 3,
        [STUDENT.end_id, STUDENT.unk_id, CAT],
    ]
    np.testing.assert_allclose(probabilities, [[0.6 / 0.66, 0, 0.06 / 0.66], [0, 0, 0], [0.8, 0.1, 0.1]], atol=1e-3)
    assert MAP.report([choices]) == (
        "the 3 most probable words hold 98.7% of the teacher's probability, 55.3% are on words that the student has "
        "(5 of 11 it lacks), 1 of 3 places have no target"
    )


def caption(*words):
    return choices_of(*((word, {word: 0.9, "a": 0.05} if word != "a" else {"a": 0.9, "cat": 0.05}) for word in words))


def firsts(choices, n_places):
    """The first word of each place, None where there is no target."""
    ids, probabilities = MAP.targets(choices, n_places)
    assert ids.shape == probabilities.shape == (n_places, 2)
    return [int(row[0]) if any(of_place) else None for row, of_place in zip(ids, probabilities.tolist(), strict=True)]


def test_each_target_stands_where_the_student_reads_the_word():
    words = ("a", "rain-soaked", "--", "<pad>", "Dog", "barks", "<end>")
    n_places = len(STUDENT.encode("a rain-soaked -- Dog barks")) - 1
    assert firsts(caption(*words), n_places) == [A, None, None, DOG, BARKS, STUDENT.end_id]
    assert firsts(caption("<end>"), 1) == [STUDENT.end_id]


def test_a_caption_that_was_cut_has_no_target_for_its_end():
    assert firsts(caption("a", "Dog", "barks"), 4) == [A, DOG, BARKS, None], "by the teacher"
    assert firsts(caption("a", "Dog", "barks", "<end>"), 3) == [A, DOG, None], "by the student"
    assert firsts(caption("a", "Dog", "barks"), 3) == [A, DOG, None], "by both"
    assert firsts(caption("a", "rain-soaked", "<end>"), 3) == [A, None, None], "inside a word of the teacher"


# Batches --------------------------------------------------------------------------------------------------------------

TOKENIZER = WordTokenizer.from_captions(["a loud high low tone hum"])


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    """Training examples of ten clips of three windows, for some teacher's columns."""
    folder = tmp_path_factory.mktemp("corpus")
    corpora = make_corpora(folder, train=captioned(10), valid=captioned(2, first=30))
    TOKENIZER.save(folder / "words.json")

    def make(*columns, **options):
        views = make_views(corpora)
        targets = TeacherTargets(WordyTeacher(), views, columns, folder / "-".join(columns)).load()
        return make_caption_sets(views, None, targets, folder / "words.json", RATE, 3, **options)["train"]

    return make


def test_a_batch_has_a_target_for_each_word_of_the_teacher_s_captions(train):
    examples = train("clip", "caption", "token_choices")
    batch = collate([examples[index] for index in range(10)]).to("cpu")
    assert batch.token_ids.shape == batch.token_probs.shape == (*batch.teacher_ids[:, 1:].shape, 3)
    assert batch.token_ids.dtype == torch.int64 and batch.token_probs.dtype == torch.float32
    words = batch.teacher_ids[:, 1:]
    has_target = batch.token_probs.sum(-1)
    assert not has_target[words == TOKENIZER.pad_id].any() and (words == TOKENIZER.pad_id).any()
    torch.testing.assert_close(has_target[has_target > 0], torch.ones(int((has_target > 0).sum())))
    assert (has_target[words == TOKENIZER.end_id] > 0).all()
    loud = batch.teacher_ids == TOKENIZER.encode("loud")[1]
    best = batch.token_ids.gather(2, batch.token_probs.argmax(-1, keepdim=True))[..., 0]
    assert loud.any() and (best[loud[:, 1:]] == batch.teacher_ids[loud]).all()


@pytest.mark.parametrize("columns", [("token_choices",), ("clip", "token_choices")])
def test_word_choices_without_their_caption_are_refused(train, columns):
    with pytest.raises(ConfigError, match=r"those of the teacher's caption; give --target_columns \[caption"):
        train(*columns)


def test_a_cache_without_word_choices_gives_batches_without_them(train):
    batch = collate([train("clip", "caption")[0]])
    assert batch.teacher_ids is not None and (batch.token_ids, batch.token_probs) == (None, None)


def test_how_much_the_student_cannot_take_up_is_said_once(train, caplog):
    caplog.set_level("INFO", "tinyclap.data.captions")
    train("clip", "caption", "token_choices", max_words=2)
    (line,) = [record.message for record in caplog.records if "most probable words" in record.message]
    assert line.startswith("the 3 most probable words hold ") and "(3 of 11 it lacks)" in line

"""A teacher's k most probable words at each place of its caption, as targets in a student's vocabulary.

Source: Hinton et al., "Distilling the Knowledge in a Neural Network", 2015; Kim & Rush, "Sequence-Level Knowledge
Distillation", EMNLP 2016 (word level).
"""

import numpy as np

from tinyclap.text.tokenizer import END, PAD, START, UNKNOWN, caption_words

_ABSENT = -1  # of a word that the student lacks


class StudentChoices:
    """Maps a teacher's word choices (ids of its vocabulary `words`) to the vocabulary of a student's `tokenizer`.

    Words that the student lacks are left out and the other probabilities normalised; where none is left, the place has
    no target. ``<unk>`` and ``<end>`` are words, padding and ``<start>`` are not. A word of the teacher that is several
    of the student's ("rain-soaked") gives these no target; one that is none ("--") has no place. A caption that was cut
    has no target for its end.
    """

    def __init__(self, words, tokenizer):
        self.words, self.pad_id = words, tokenizer.pad_id
        self._student_ids = np.array([_student_id(word, tokenizer) for word in words])
        self._lengths = np.array([0 if word in (PAD, START, END) else len(caption_words(word)) for word in words])

    def targets(self, choices, n_places):
        """Ids (n_places, k), int64, and probabilities (n_places, k), float32, of one caption's choices.

        `choices` has arrays ``words`` (n,), ``ids`` and ``log_probs`` (n, k). `n_places` counts the student's words of
        the caption and its end. Probabilities of a place sum to 1 or are 0.
        """
        words, n_choices = choices.words, choices.ids.shape[1]
        student_ids, probabilities = self._known(choices)
        lengths = self._lengths[words]
        probabilities[lengths > 1] = 0
        sources = np.repeat(np.arange(len(words)), lengths)  # of each of the student's words, which of the teacher's
        if len(sources) == n_places - 1 and len(words) and self.words[words[-1]] == END:
            sources = np.append(sources, len(words) - 1)
        else:
            sources = sources[: n_places - 1]
        target_ids = np.full((n_places, n_choices), self.pad_id, dtype=np.int64)
        targets = np.zeros((n_places, n_choices), dtype=np.float32)
        total = probabilities.sum(axis=1, keepdims=True)
        target_ids[: len(sources)] = np.where(student_ids == _ABSENT, self.pad_id, student_ids)[sources]
        targets[: len(sources)] = (probabilities / np.where(total > 0, total, 1))[sources]
        return target_ids, targets

    def _known(self, choices):
        """Ids of the student and probabilities, 0 for words that it lacks."""
        student_ids = self._student_ids[choices.ids]
        return student_ids, np.where(student_ids == _ABSENT, 0, np.exp(choices.log_probs.astype(np.float32)))

    def report(self, captions):
        """In words: how much of the teacher's vocabulary and probability the student lacks.

        `captions` iterates over the word choices of each caption.
        """
        n_choices, n_places, n_without, given, kept = 0, 0, 0, 0.0, 0.0
        for choices in captions:
            of_places = self._known(choices)[1].sum(axis=1)
            n_choices, n_places = choices.ids.shape[1], n_places + len(of_places)
            n_without, kept = n_without + int((of_places == 0).sum()), kept + float(of_places.sum())
            given += float(np.exp(choices.log_probs.astype(np.float32)).sum())
        return (
            f"the {n_choices} most probable words hold {given / max(n_places, 1):.1%} of the teacher's probability, "
            f"{kept / max(n_places, 1):.1%} are on words that the student has "
            f"({int((self._student_ids == _ABSENT).sum())} of {len(self.words)} it lacks), {n_without} of {n_places} "
            "places have no target"
        )


def _student_id(word, tokenizer):
    """The id of a teacher's word in a student's vocabulary, or `_ABSENT`."""
    if word in (END, UNKNOWN):
        return tokenizer.end_id if word == END else tokenizer.unk_id
    ids = [] if word in (PAD, START) else tokenizer.encode(word)[1:-1]
    return ids[0] if len(ids) == 1 and ids[0] != tokenizer.unk_id else _ABSENT

"""A teacher's k most probable words at each place of its caption, as targets in a student's vocabulary.

Source: Hinton et al., "Distilling the Knowledge in a Neural Network", 2015; Kim & Rush, "Sequence-Level Knowledge
Distillation", EMNLP 2016 (word level).
"""

import numpy as np

from tinyclap.text.tokenizer import END, PAD, START, UNKNOWN, caption_words


class StudentChoices:
    """Maps a teacher's word choices (ids of its vocabulary `words`) to the vocabulary of a student's `tokenizer`.

    Words that the student lacks are left out and the other probabilities normalised; where none is left, the place has
    no target. ``<unk>`` and ``<end>`` are words, padding and ``<start>`` are not. A word of the teacher that is several
    of the student's ("rain-soaked") gives these no target; one that is none ("--") has no place. A caption that was cut
    has no target for its end.
    """

    def __init__(self, words, tokenizer):
        self.words, self.pad_id = words, tokenizer.pad_id
        self._student_ids = np.array([_student_id(word, tokenizer) for word in words])  # the pad's for those it lacks
        self._lengths = np.array([0 if word in (PAD, START, END) else len(caption_words(word)) for word in words])

    def targets(self, choices, n_places):
        """Ids (n_places, k), int64, and probabilities (n_places, k), float32, of one caption's choices.

        `choices` has arrays ``words`` (n,), ``ids`` and ``log_probs`` (n, k). `n_places` counts the student's words of
        the caption and its end. Probabilities of a place sum to 1 or are 0.
        """
        lengths, probabilities = self._lengths[choices.words], self._known(choices)
        probabilities[lengths > 1] = 0
        probabilities /= np.maximum(probabilities.sum(axis=1, keepdims=True), np.finfo(np.float32).tiny)
        sources = np.repeat(np.arange(len(lengths)), lengths)  # of each of the student's words, which of the teacher's
        is_whole = len(sources) == n_places - 1 and len(lengths) and self.words[choices.words[-1]] == END
        sources = np.append(sources, len(lengths) - 1) if is_whole else sources[: n_places - 1]
        ids = np.full((n_places, choices.ids.shape[1]), self.pad_id)
        targets = np.zeros(ids.shape, dtype=np.float32)
        ids[: len(sources)], targets[: len(sources)] = self._student_ids[choices.ids][sources], probabilities[sources]
        return ids, targets

    def _known(self, choices):
        """Probabilities, 0 for words that the student lacks."""
        return np.where(self._student_ids[choices.ids] == self.pad_id, 0, _probabilities(choices))

    def report(self, captions):
        """In words: how much of the teacher's vocabulary and probability the student lacks.

        `captions` iterates over the word choices of each caption.
        """
        captions = list(captions)
        given = np.concatenate([_probabilities(choices) for choices in captions])
        kept = np.concatenate([self._known(choices).sum(axis=1) for choices in captions])
        n_lacking = int((self._student_ids == self.pad_id).sum())
        return (
            f"the {given.shape[1]} most probable words hold {given.sum(axis=1).mean():.1%} of the teacher's "
            f"probability, {kept.mean():.1%} are on words that the student has ({n_lacking} of {len(self.words)} it "
            f"lacks), {(kept == 0).sum()} of {len(kept)} places have no target"
        )


def _probabilities(choices):
    return np.exp(choices.log_probs.astype(np.float32))


def _student_id(word, tokenizer):
    """The id of a teacher's word in a student's vocabulary, or that of padding."""
    if word in (END, UNKNOWN):
        return tokenizer.end_id if word == END else tokenizer.unk_id
    ids = [] if word in (PAD, START) else tokenizer.encode(word)[1:-1]
    return ids[0] if len(ids) == 1 and ids[0] != tokenizer.unk_id else tokenizer.pad_id

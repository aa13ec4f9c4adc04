"""A teacher's k most probable words at each place of its caption: how they are stored, and as targets of a student.

A shard's ``.npz`` holds, view after view, ``said`` (the caption's words), ``ids`` and ``log_probs`` (the k most
probable words of each place, best first, float16, natural, temperature 1), and ``n_words`` (places of each view).
Ids are of the teacher's vocabulary, which the target cache keeps once.

Source: Hinton et al., "Distilling the Knowledge in a Neural Network", 2015; Kim & Rush, "Sequence-Level Knowledge
Distillation", EMNLP 2016 (word level).
"""

import numpy as np
import torch

from tinyclap.errors import CheckpointError
from tinyclap.text.tokenizer import END, PAD, START, UNKNOWN, caption_words

_NOWHERE = -1  # of a word that the student lacks


def packed_choices(choices, keys):
    """Arrays of a :class:`tinyclap.decoding.beam_search.WordChoices` for the views `keys`, up to each end."""
    n_words, said, ids, log_probs = (
        part.cpu() for part in (choices.n_words, choices.words, choices.ids, choices.log_probs)
    )
    if {len(n_words), len(said), len(ids), len(log_probs)} != {len(keys)} or ids.shape != log_probs.shape:
        raise CheckpointError(
            f"the teacher answered {len(keys)} views by word choices of shape {tuple(ids.shape)} and log-probabilities "
            f"of shape {tuple(log_probs.shape)}; it owes (B, L, k)"
        )
    there = torch.arange(said.shape[1]) < n_words[:, None]
    log_probs = log_probs.half()
    broken = ~(log_probs.isfinite().all(dim=-1) | ~there).all(dim=-1)
    if broken.any():
        raise CheckpointError(
            f"the teacher's word choices for {keys[int(broken.nonzero()[0])]} are not finite in float16; are its "
            "weights whole?"
        )
    return {
        "n_words": n_words.to(torch.int32).numpy(),
        "said": said[there].to(torch.int32).numpy(),
        "ids": ids[there].to(torch.int32).numpy(),
        "log_probs": log_probs[there].numpy(),
    }


def joined_choices(parts):
    """Concatenate the arrays of several dicts."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


class TaughtChoices:
    """The word choices of a target cache: `shards` of :func:`packed_choices`, ids of the vocabulary `words`."""

    def __init__(self, shards, words):
        widths = {shard["ids"].shape[1] for shard in shards}
        if len(widths) > 1:
            raise CheckpointError(f"the caption store has several numbers of word choices: {sorted(widths)}; delete it")
        whole = joined_choices(shards)
        self.words, self.said, self.ids, self.log_probs = words, whole["said"], whole["ids"], whole["log_probs"]
        self._ends = np.cumsum(whole["n_words"])
        largest = max(self.said.max(initial=0), self.ids.max(initial=0))
        if largest >= len(words) or len(self.said) != self._ends[-1]:
            raise CheckpointError(
                f"the caption store's word choices go up to the id {largest}, its vocabulary has {len(words)} words; "
                "delete the folder to make it again"
            )

    def row(self, row):
        """(said (n,), ids (n, k), log-probabilities (n, k)) of one row of the cache; numpy arrays."""
        places = slice(self._ends[row - 1] if row else 0, self._ends[row])
        return self.said[places], self.ids[places], self.log_probs[places]


class StudentChoices:
    """A teacher's word choices (`taught`, a :class:`TaughtChoices`) in the vocabulary of a student's `tokenizer`.

    Words that the student lacks are left out and the other probabilities normalised; where none is left, the place has
    no target. ``<unk>`` and ``<end>`` are words, padding and ``<start>`` are not. A word of the teacher that is several
    of the student's ("rain-soaked") gives these no target; one that is none ("--") has no place. A caption that was cut
    has no target for its end.
    """

    def __init__(self, taught, tokenizer):
        self.taught, self.pad_id = taught, tokenizer.pad_id
        self._student_ids = np.array([_student_id(word, tokenizer) for word in taught.words])
        silent = (PAD, START, END)
        self._lengths = np.array([0 if word in silent else len(caption_words(word)) for word in taught.words])

    def targets(self, row, n_places):
        """Ids (n_places, k), int64, and probabilities (n_places, k), float32, for one row of the cache.

        `n_places` counts the student's words of the caption and its end. Probabilities of a place sum to 1 or are 0.
        """
        said, ids, log_probs = self.taught.row(row)
        student_ids, shares = self._shares(ids, log_probs)
        lengths = self._lengths[said]
        shares[lengths > 1] = 0
        sources = np.repeat(np.arange(len(said)), lengths)  # of each of the student's words, which of the teacher's
        if len(sources) == n_places - 1 and len(said) and self.taught.words[said[-1]] == END:
            sources = np.append(sources, len(said) - 1)
        else:
            sources = sources[: n_places - 1]
        wanted_ids = np.full((n_places, ids.shape[1]), self.pad_id, dtype=np.int64)
        wanted = np.zeros((n_places, ids.shape[1]), dtype=np.float32)
        total = shares.sum(axis=1, keepdims=True)
        wanted_ids[: len(sources)] = np.where(student_ids < 0, self.pad_id, student_ids)[sources]
        wanted[: len(sources)] = (shares / np.where(total > 0, total, 1))[sources]
        return torch.from_numpy(wanted_ids), torch.from_numpy(wanted)

    def _shares(self, ids, log_probs):
        """Ids of the student and probabilities, 0 for words that it lacks."""
        student_ids = self._student_ids[ids]
        return student_ids, np.where(student_ids < 0, 0, np.exp(log_probs.astype(np.float32)))

    def report(self):
        """In words: how much of the teacher's vocabulary and probability the student lacks."""
        n_lacking = int((self._student_ids < 0).sum())
        given = np.exp(self.taught.log_probs.astype(np.float32)).sum(axis=1)
        kept = self._shares(self.taught.ids, self.taught.log_probs)[1].sum(axis=1)
        n_places = max(len(given), 1)
        return (
            f"the {self.taught.ids.shape[1]} most probable words hold {given.sum() / n_places:.1%} of the teacher's "
            f"probability, {kept.sum() / n_places:.1%} are on words that the student has ({n_lacking} of "
            f"{len(self._student_ids)} it lacks), {int((kept == 0).sum())} of {len(given)} places have no target"
        )


def _student_id(word, tokenizer):
    """The id of a teacher's word in a student's vocabulary, or `_NOWHERE`."""
    if word in (END, UNKNOWN):
        return tokenizer.end_id if word == END else tokenizer.unk_id
    ids = [] if word in (PAD, START) else tokenizer.encode(word)[1:-1]
    return ids[0] if len(ids) == 1 and ids[0] != tokenizer.unk_id else _NOWHERE

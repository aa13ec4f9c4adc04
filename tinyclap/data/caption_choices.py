"""Which words a captioning teacher could have said in each place: how they are stored, and what a student reads there.

A shard's ``.npz`` holds, view after view, ``said`` (the caption's own words), ``ids`` and ``log_probs`` (the k most
probable words of each place, best first, float16, natural, at temperature 1), and ``n_words``, how many places each
view has. Ids are of the teacher's vocabulary, which the store keeps once.

Source: Hinton et al., "Distilling the Knowledge in a Neural Network", 2015; Kim & Rush, "Sequence-Level Knowledge
Distillation", EMNLP 2016 (word level).
"""

import numpy as np
import torch

from tinyclap.errors import CheckpointError
from tinyclap.text.tokenizer import END, PAD, START, UNKNOWN, caption_words

_NOWHERE = -1  # of a word that the student lacks


def packed_choices(choices, keys):
    """What a teacher said in each place, without the places after a caption's end.

    Arguments
    ---------
    choices : tinyclap.decoding.beam_search.WordChoices
    keys : list of (str, str). The views that the teacher was given.

    Returns
    -------
    dict of str to numpy.ndarray

    Raises
    ------
    CheckpointError: They are not of as many views, or not finite.
    """
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
    """One dict of arrays for several, in their order."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


class TaughtChoices:
    """The word choices of a store.

    Arguments
    ---------
    shards : list of dict. Arrays of each, as :func:`packed_choices` makes them.
    words : list of str. The teacher's vocabulary.

    Raises
    ------
    CheckpointError: The shards have several k, or words that the vocabulary has not.
    """

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
        """(said (n,), ids (n, k), log-probabilities (n, k)) of the view at a place of the store; numpy arrays."""
        places = slice(self._ends[row - 1] if row else 0, self._ends[row])
        return self.said[places], self.ids[places], self.log_probs[places]


class StudentChoices:
    """A teacher's word choices in the words of a student.

    A word that the student lacks loses its share, and the rest is made to add up to 1; where nothing is left, the
    place has no target. ``<unk>`` and ``<end>`` are words like others, padding and ``<start>`` are none.

    Arguments
    ---------
    taught : TaughtChoices
    tokenizer : tinyclap.text.tokenizer.WordTokenizer. The student's.

    Notes
    -----
    The student reads the teacher's caption in words of its own (:func:`caption_words`). Where one
    word of the teacher is several of the student's ("rain-soaked"), these have no target; one that is none ("--") has
    no place.

    A caption that was cut, by the teacher or here, has no target for its end.
    """

    def __init__(self, taught, tokenizer):
        self.taught, self.pad_id = taught, tokenizer.pad_id
        self._student_ids = np.array([_student_id(word, tokenizer) for word in taught.words])
        self._lengths = np.array([_n_words(word) for word in taught.words])

    def targets(self, row, n_places):
        """What a student should learn from one view.

        Arguments
        ---------
        row : int. Of the store.
        n_places : int. Words of the caption as the student reads it, its end among them.

        Returns
        -------
        torch.Tensor, shape (n_places, k), int64. Ids of the student; the padding's where it lacks the word.
        torch.Tensor, shape (n_places, k), float32. Probabilities that add up to 1 in each place, or are all 0.
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
        """In words: how much of the teacher's vocabulary, and of its probability, the student cannot take up."""
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


def _n_words(word):
    """How many words of the student's a word of the teacher's is in a caption; special ones but <unk> are none."""
    return 0 if word in (PAD, START, END) else len(caption_words(word))

"""The bookkeeping of beam search in plain Python: which beams continue, which captions are finished.

Source: the beam search of the published EfficientNet-B2 captioner (Xu et al., "Efficient Audio Captioning with
Encoder-Level Knowledge Distillation", Interspeech 2024). Scores come from torch (``decoding.beam_search``) or from an
exported graph (``runtime.caption_search``).
"""

import numbers
from typing import Any, NamedTuple

from tinyclap.errors import ConfigError

_ENDED_PENALTY = 1000.0  # of a beam that has ended: its continuations are then never the best


class Hypotheses(NamedTuple):
    """Captions of B clips, best first, as tensors or arrays."""

    ids: Any  # (B, n_best, max_words), int64: without the start, filled with the end id
    scores: Any  # (B, n_best), float32: mean log-probability of the words, the end counted
    n_words: Any  # (B, n_best), int64: with the end, where there is one


class NextStep(NamedTuple):
    """Input of the decoder's next step: lists, one entry for each of the B' clips that are still in the batch."""

    staying: list  # B': indices of these clips in the batch of the step before
    rows: list  # B' × beam: the row of the step before that each beam continues
    last_ids: list  # B' × beam: the word that continued it
    penalties: list  # B' × beam: to subtract from its running score


class BeamRule:
    """One search over a batch of clips.

    Arguments
    ---------
    n_clips : int
    end_id : int. The word that ends a caption.
    beam : int. Beams k of a clip, at most the size of the vocabulary; 1 is greedy search.
    max_words, min_words : int. Maximum words of a caption, the end counted, and minimum before its end.
    n_best : int. Captions of each clip, at most `beam`.
    forbidden_ids : sequence of int. Words that no caption may have.

    Notes
    -----
    A beam's score is the sum of its words' log-probabilities. At every step the k best continuations of a clip's k
    beams are kept. One that ends, or has `max_words` words, is stored with its score over its number of words, and its
    running score falls by 1000. A clip leaves the batch when it has exactly k stored captions after a step, as in the
    published search; else at `max_words`. The best stored captions win, the earlier one of two equals. The
    probabilities of banned words are not given to the others.

    Example
    -------
    >>> rule = BeamRule(n_clips=1, end_id=0, beam=2, max_words=2)
    >>> rule.follow(scores=[[-0.5, -1.0]], places=[[3, 0]], n_vocabulary=4)  # word 3, and the end at once
    NextStep(staying=[0], rows=[[0, 0]], last_ids=[[3, 0]], penalties=[[0.0, 1000.0]])
    >>> rule.follow(scores=[[-0.6, -0.9]], places=[[0, 1]], n_vocabulary=4) is None
    True
    >>> rule.found().ids, rule.found().scores
    ([[[3, 0]]], [[-0.3]])
    """

    def __init__(self, n_clips, end_id, beam=3, max_words=20, min_words=0, n_best=1, forbidden_ids=()):
        given = {"beam": beam, "max_words": max_words, "min_words": min_words, "n_best": n_best}
        odd = [
            f"{name}={n!r}" for name, n in given.items() if isinstance(n, bool) or not isinstance(n, numbers.Integral)
        ]
        if odd:
            raise ConfigError(f"{', '.join(odd)}: give whole numbers")
        if beam < 1 or max_words < 1:
            raise ConfigError(f"beam={beam} and max_words={max_words} are at least 1")
        if not 1 <= n_best <= beam:
            raise ConfigError(f"n_best={n_best} is not in [1, beam={beam}]")
        if not 0 <= min_words < max_words:
            raise ConfigError(f"min_words={min_words} is not in [0, max_words={max_words})")
        self.end_id, self.beam, self.max_words, self.min_words = end_id, beam, max_words, min_words
        self.n_best, self.forbidden_ids = n_best, list(forbidden_ids)
        self._clips = self._everyone = [_Clip() for _ in range(n_clips)]
        self._n_words, self._n_beams = 0, 1

    def banned_ids(self, n_vocabulary):
        """Ids of words that may not come next."""
        if n_vocabulary < self.beam:
            raise ConfigError(f"beam={self.beam} is more than the {n_vocabulary} words there are")
        return [*self.forbidden_ids, self.end_id] if self._n_words < self.min_words else self.forbidden_ids

    def follow(self, scores, places, n_vocabulary):
        """Take the k best continuations of each clip: a :class:`NextStep`, or None when no clip is left.

        `scores` (B' × beam) are running scores with the next word's log-probability, best first; `places` the previous
        beam times `n_vocabulary`, plus the word.
        """
        self._n_words += 1
        is_last = self._n_words == self.max_words
        step = NextStep([], [], [], [])
        for position, clip in enumerate(self._clips):
            beams = [divmod(int(place), n_vocabulary) for place in places[position]]
            ended = clip.extend(beams, scores[position], self.end_id, is_last)
            if len(clip.stored) != self.beam and not is_last:
                step.staying.append(position)
                step.rows.append([position * self._n_beams + source for source, _ in beams])
                step.last_ids.append([word for _, word in beams])
                step.penalties.append([_ENDED_PENALTY * over for over in ended])
        self._clips, self._n_beams = [self._clips[position] for position in step.staying], self.beam
        return step if step.staying else None

    def found(self):
        """The best captions of every clip: a :class:`Hypotheses` of nested lists."""
        ids, scores, n_words = [], [], []
        for clip in self._everyone:
            best = sorted(clip.stored, key=lambda stored: -stored[0])[: self.n_best]
            ids.append([words + [self.end_id] * (self.max_words - len(words)) for _, words in best])
            scores.append([score for score, _ in best])
            n_words.append([len(words) for _, words in best])
        return Hypotheses(ids, scores, n_words)


class _Clip:
    """The beams of one clip and its stored captions."""

    def __init__(self):
        self.sequences, self.stored = [[]], []

    def extend(self, beams, scores, end_id, is_last):
        """Extend the beams by ``(source, word)`` each, store those that end, and return which do."""
        self.sequences = [[*self.sequences[source], word] for source, word in beams]
        ended = [is_last or word == end_id for _, word in beams]
        for words, score, over in zip(self.sequences, scores, ended, strict=True):
            if over:
                self.stored.append((score / len(words), words))
        return ended

"""Beam search over the step graph of an exported captioner, by the rule of :mod:`tinyclap.decoding.rule`. NumPy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinyclap.decoding.rule import BeamRule, Hypotheses
from tinyclap.errors import ConfigError

if TYPE_CHECKING:
    from tinyclap.runtime.session import Session

_STATE = ("said_", "asked_", "told_", "bias_")  # inputs: past key–values; cross-attention keys, values and bias


class GraphDecoder:
    """The decoder of an exported captioner.

    `step` is the Session of a :class:`tinyclap.export.caption_graphs.StepGraph`, `sizes` is ``config["decoder"]``.
    """

    def __init__(self, step: Session, sizes: dict[str, Any]) -> None:
        self.step, self.sizes = step, sizes

    def search(
        self,
        memory: Sequence[np.ndarray],
        beam: int = 3,
        max_words: int = 20,
        min_words: int = 0,
        n_best: int = 1,
        forbidden_ids: Iterable[int] = (),
    ) -> Hypotheses:
        """Find the captions of B clips.

        Arguments
        ---------
        memory : list of numpy.ndarray, each of B rows. What the memory graph gives behind the clips' means.
        beam, max_words, min_words, n_best, forbidden_ids : As for :class:`tinyclap.decoding.rule.BeamRule`.

        Returns
        -------
        tinyclap.decoding.rule.Hypotheses. Of numpy arrays.
        """
        sizes = self.sizes
        rule = BeamRule(len(memory[0]), sizes["end_id"], beam, max_words, min_words, n_best, forbidden_ids)
        if max_words > sizes["max_positions"]:
            n_most = sizes["max_positions"]
            raise ConfigError(f"max_words={max_words}: this decoder has {n_most} positions; ask for fewer words")
        names = [name for name in self.step.input_names if name.startswith(_STATE)]
        n_clips, ranks = len(memory[0]), np.arange(rule.beam)
        rows, running = np.arange(n_clips), np.zeros((n_clips, 1), np.float32)
        last_ids = np.full((n_clips, 1), sizes["start_id"], np.int64)
        word_mask = np.zeros((n_clips, 1, 1, 1), np.float32)
        empty = np.zeros((n_clips, sizes["n_heads"], 0, sizes["width"] // sizes["n_heads"]), np.float32)
        past = [empty for name in names if name.startswith("said_")]
        while True:
            banned = np.zeros(sizes["n_words"], np.float32)
            banned[rule.banned_ids(sizes["n_words"])] = -np.inf
            feeds: dict[str, Any] = {"last_ids": last_ids, "rows": rows, "running": running, "banned": banned}
            feeds |= {"word_mask": word_mask, "ranks": ranks, **dict(zip(names, [*past, *memory], strict=True))}
            scores, places, *past = self.step.run(feeds)
            step = rule.follow(scores.tolist(), places.tolist(), sizes["n_words"])
            if step is None:
                ids, found, n_words = rule.found()
                return Hypotheses(np.array(ids), np.array(found, np.float32), np.array(n_words))
            rows, last_ids = np.array(step.rows).reshape(-1), np.array(step.last_ids)
            running = scores[step.staying] - np.array(step.penalties, np.float32)
            if len(step.staying) < len(scores):
                memory = [array[step.staying] for array in memory]
            new = np.where(last_ids == sizes["pad_id"], np.float32(-np.inf), np.float32(0)).reshape(-1, 1, 1, 1)
            word_mask = np.concatenate([word_mask[rows], new], axis=3)

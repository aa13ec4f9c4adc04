"""Search for captions with an exported decoder: the rule of :mod:`tinyclap.decoding.rule` over graphs, in numpy."""

import numpy as np

from tinyclap.decoding.rule import BeamRule, Hypotheses
from tinyclap.errors import ConfigError


class GraphDecoder:
    """The decoder of an exported captioner.

    Arguments
    ---------
    step : tinyclap.runtime.session.Session
        The graph of :class:`tinyclap.export.caption_graphs.StepGraph`.
    sizes : dict
        ``n_words`` (of the vocabulary), ``n_layers``, ``n_heads``, ``width``, ``max_positions``, ``start_id``,
        ``end_id`` and ``pad_id``.
    """

    def __init__(self, step, sizes):
        self.step, self.sizes = step, sizes

    def search(self, heard, beam=3, max_words=20, min_words=0, n_best=1, forbidden_ids=()):
        """Find the captions of B clips.

        Arguments
        ---------
        heard : list of numpy.ndarray, each of B rows
            What the memory graph gives, without the clips' means.
        beam, max_words, min_words, n_best, forbidden_ids
            As for :class:`tinyclap.decoding.rule.BeamRule`.

        Returns
        -------
        tinyclap.decoding.rule.Hypotheses
            Of numpy arrays.

        Raises
        ------
        ConfigError
            A number is out of its range.
        """
        if max_words > self.sizes["max_positions"]:
            raise ConfigError(
                f"max_words={max_words}: this decoder has {self.sizes['max_positions']} positions; ask for fewer words"
            )
        rule = BeamRule(len(heard[0]), self.sizes["end_id"], beam, max_words, min_words, n_best, forbidden_ids)
        self._go(rule, heard)
        ids, scores, n_words = rule.found()
        return Hypotheses(np.array(ids), np.array(scores, dtype=np.float32), np.array(n_words))

    def _go(self, rule, heard):
        """Go word by word until all clips have their captions, which `rule` keeps."""
        n_vocabulary, pad_id = self.sizes["n_words"], self.sizes["pad_id"]
        n_layers, n_heads = self.sizes["n_layers"], self.sizes["n_heads"]
        names = [name for name in self.step.input_names if name.startswith(("said_", "asked_", "told_", "bias_"))]
        ranks, n_clips = np.arange(rule.beam), len(heard[0])
        rows, running = np.arange(n_clips), np.zeros((n_clips, 1), dtype=np.float32)
        last_ids = np.full((n_clips, 1), self.sizes["start_id"], dtype=np.int64)
        word_mask = np.zeros((n_clips, 1, 1, 1), dtype=np.float32)
        said = [np.zeros((n_clips, n_heads, 0, self.sizes["width"] // n_heads), dtype=np.float32)] * (2 * n_layers)
        while True:
            feeds = {
                "last_ids": last_ids,
                "rows": rows,
                "running": running,
                "banned": self._penalty(rule.banned_ids(n_vocabulary)),
                "word_mask": word_mask,
                "ranks": ranks,
                **dict(zip(names, [*said, *heard], strict=True)),
            }
            scores, places, *said = self.step.run(feeds)
            step = rule.follow(scores.tolist(), places.tolist(), n_vocabulary)
            if step is None:
                return
            rows, last_ids = np.array(step.rows).reshape(-1), np.array(step.last_ids)
            running = scores[step.staying] - np.array(step.penalties, dtype=np.float32)
            if len(step.staying) < len(scores):
                heard = [array[step.staying] for array in heard]
            new = np.where(last_ids == pad_id, np.float32(-np.inf), np.float32(0)).reshape(-1, 1, 1, 1)
            word_mask = np.concatenate([word_mask[rows], new], axis=3)

    def _penalty(self, banned_ids):
        """What is added to every word's score (V,)."""
        penalty = np.zeros(self.sizes["n_words"], dtype=np.float32)
        penalty[banned_ids] = -np.inf
        return penalty

"""An exported student or tagger: embeddings, tags and zero-shot classes of clips of any length, rate and format.

Windows, channels, resampling and scores are those of :mod:`tinyclap.models.student` and :mod:`tinyclap.teachers`, so
the results are the same up to the rounding that ``parity.json`` of the folder states. No torch.
"""

import functools
import json
from pathlib import Path

import numpy as np

from tinyclap.audio.batch import embed_together
from tinyclap.audio.clips import as_clips, as_sources
from tinyclap.audio.cpu import n_cores
from tinyclap.audio.windows import WindowPolicy, window_batches
from tinyclap.checkpoints.exported import checked_file
from tinyclap.errors import ConfigError
from tinyclap.runtime.session import open_session
from tinyclap.text.scores import ranked, score, unit_rows

LABELS, VECTORS, GOLDEN = "labels.json", "label_vectors.npz", "golden.npz"
_BATCH_SIZE = 32


class AudioModel:
    """A graph from waveforms to embeddings, and what belongs to it.

    Made by :func:`tinyclap.runtime.load`.

    Arguments
    ---------
    folder : str or os.PathLike
        What export.py wrote.
    config : dict
        Its ``config.json``.
    engine, precision, n_threads
        See :func:`tinyclap.runtime.load`.

    Attributes
    ----------
    config : dict
        The folder's ``config.json``.
    labels : list of str
        Names that `classify` chooses among: those of the export.
    tags : list of str
        Names of the entries of a tagger's output; empty for other models.
    sample_rate_hz, embed_dim : int
    label_rows : numpy.ndarray, shape (N, D), or None
        Vectors of ``labels``.
    precision : str
        "fp32", "int8" or "bf16": what "auto" came to.
    """

    def __init__(self, folder, config, engine="onnxruntime", precision="auto", n_threads=None):
        self.folder, self.config = Path(folder), config
        self.sample_rate_hz, self.embed_dim = (
            config["sample_rate_hz"],
            config["embed_dim"],
        )
        self.policy = WindowPolicy(**config["window"])
        self.precision = resolved_precision(config, engine, precision)
        self._engine, self._n_threads = engine, n_threads
        graph = checked_file(
            folder,
            config,
            config["graphs"]["int8" if self.precision == "int8" else "fp32"],
        )
        front_end = config["graphs"].get("front_end")
        if front_end is not None:
            front_end = checked_file(folder, config, front_end)
        self._session = open_session(graph, engine, self.precision, n_threads, front_end)
        names = json.loads(checked_file(folder, config, LABELS).read_text(encoding="utf-8"))
        self.labels, self.tags = names["labels"], names["tags"]
        self.label_rows = None
        if self.labels:
            with np.load(checked_file(folder, config, VECTORS)) as content:
                self.label_rows = content["vectors"].astype(np.float32)

    @functools.cached_property
    def text(self):
        """The text side, opened when it is first used; None where the folder has none."""
        if "text" not in self.config:
            return None
        from tinyclap.runtime.text_side import open_text_side

        return open_text_side(self.folder, self.config, self._n_threads)

    def embed(self, audio, sample_rate_hz=None, batch_size=_BATCH_SIZE):
        """Embed clips.

        Arguments
        ---------
        audio, sample_rate_hz
            Paths or arrays; see :func:`tinyclap.audio.clips.as_clips`.
        batch_size : int
            Windows in one pass.

        Returns
        -------
        numpy.ndarray, shape (B, D), float32
            Unit rows, mean probabilities, or raw features: ``config["outputs"]["embedding"]`` says which.

        Raises
        ------
        AudioError
            A clip cannot be used; the message says which and why.
        """
        return self.outputs(audio, sample_rate_hz, batch_size)["embedding"]

    def embed_many(self, audio, sample_rate_hz=None, progress=None):
        """What is compared with labels: (B, D), float32; see :meth:`SoundModel.embed`."""
        sources = as_sources(audio)
        if len(sources) == 1:
            return self._steady._sounds(sources, sample_rate_hz, _BATCH_SIZE)
        return embed_together(self, sources, sample_rate_hz, progress)

    def for_worker(self):
        """The model as one of many threads uses it; see :mod:`tinyclap.audio.batch`."""
        if self._engine == "openvino":  # its requests are not for two threads at once
            return AudioModel(self.folder, self.config, self._engine, self.precision, self._n_threads or 1)
        return self._steady

    @property
    def usual_workers(self):
        """How many clips at a time keep all cores at work: int."""
        return max(1, n_cores() // (self._n_threads or 1))

    @functools.cached_property
    def _steady(self):
        """Itself; with one thread of the engine where no number is asked for: the last bits depend on the number, and
        a clip alone is to give those that it gives among many."""
        if self._n_threads is not None:
            return self
        return AudioModel(self.folder, self.config, self._engine, self.precision, 1)

    def embed_windows(self, windows):
        """The same of windows (n, T) at ``sample_rate_hz``, each as it is: (n, D), float32."""
        found = dict(zip(self._session.output_names, self._session.run({"wavs": windows}), strict=True))
        if "logits" in found:
            return _sigmoid(found["logits"])
        rows = found["embedding"]
        return unit_rows(rows) if self.config["outputs"]["embedding"]["normalise"] else rows

    def tag(self, audio, sample_rate_hz=None, batch_size=_BATCH_SIZE):
        """Probabilities of a tagger's tags, which are named in ``tags``: (B, K), float32, each in [0, 1].

        Raises
        ------
        ConfigError
            The model is no tagger.
        """
        if not self.tags:
            raise ConfigError(f"{self.folder}: this model gives embeddings, no tags; classify() names sounds with it")
        outputs = self.outputs(audio, sample_rate_hz, batch_size)
        return _sigmoid(outputs["logits"]) if "logits" in outputs else outputs["embedding"]

    def scores(self, audio, sample_rate_hz=None, batch_size=_BATCH_SIZE):
        """How well each of ``labels`` fits each clip: (B, N), float32, of ``config["score"]``'s kind.

        Raises
        ------
        ConfigError
            The folder was exported without labels.
        """
        if self.label_rows is None:
            raise ConfigError(f"{self.folder}: exported without labels; export again with --labels 'dog,rain,…'")
        return score(
            self._sounds(audio, sample_rate_hz, batch_size),
            self.label_rows,
            self.config["score"],
        )

    def classify(self, audio, labels=None, top=5, sample_rate_hz=None, batch_size=_BATCH_SIZE):
        """Name the sounds of clips, zero-shot.

        Arguments
        ---------
        audio, sample_rate_hz, batch_size
            As in `embed`.
        labels : list of str or None
            Which of the exported labels to choose among; None takes all.
        top : int
            How many to name for each clip.

        Returns
        -------
        list of list of (str, float)
            For each clip the likeliest labels, best first, with their scores.

        Raises
        ------
        ConfigError
            A label was not exported.
        """
        scores = self.scores(audio, sample_rate_hz, batch_size)
        unknown = sorted(set(labels or ()) - set(self.labels))
        if unknown:
            raise ConfigError(
                f"{self.folder}: no vectors for {', '.join(unknown)}; it was exported with {len(self.labels)} labels "
                f"({', '.join(self.labels[:5])}, …). Export again with --labels: new ones need the text side"
            )
        return ranked(scores, self.labels, top, labels)

    def check(self):
        """The greatest difference, over the folder's golden clips, between this machine's outputs and torch's.

        Returns
        -------
        dict of str to float
            Output name to max |difference|; ``parity.json`` says what to expect of each precision.
        """
        worst = {}
        with np.load(checked_file(self.folder, self.config, GOLDEN)) as golden:
            for index, rate_hz in enumerate(golden["sample_rates_hz"]):
                outputs = self.outputs([golden[f"clip_{index}"]], int(rate_hz), _BATCH_SIZE)
                for name, rows in outputs.items():
                    difference = float(np.abs(rows[0] - golden[name][index]).max())
                    worst[name] = max(worst.get(name, 0.0), difference)
        return worst

    def _sounds(self, audio, sample_rate_hz, batch_size):
        """The rows that are compared with labels: a tagger's probabilities, else embeddings."""
        return (self.tag if self.tags else self.embed)(audio, sample_rate_hz, batch_size)

    def outputs(self, audio, sample_rate_hz=None, batch_size=_BATCH_SIZE):
        """Every output, averaged over each clip's windows: dict of name to (B, ·), float32; arguments as in `embed`."""
        clips = as_clips(audio, self.sample_rate_hz, self.config["resampler"], sample_rate_hz)
        normalise = {name: how["normalise"] for name, how in self.config["outputs"].items()}
        totals, counts = {}, np.zeros((len(clips), 1), np.float32)
        for owners, windows in window_batches(clips, self.sample_rate_hz, self.policy, batch_size):
            np.add.at(counts, owners, 1)
            results = dict(
                zip(
                    self._session.output_names,
                    self._session.run({"wavs": np.stack(windows)}),
                    strict=True,
                )
            )
            for name, rows in results.items():
                sums = totals.setdefault(name, np.zeros((len(clips), rows.shape[-1]), np.float32))
                np.add.at(sums, owners, unit_rows(rows) if normalise[name] else rows)
        means = {name: sums / counts for name, sums in totals.items()}
        return {name: unit_rows(rows) if normalise[name] else rows for name, rows in means.items()}


def resolved_precision(config, engine, precision):
    """The precision that is meant, and is there.

    Arguments
    ---------
    config : dict
        An exported folder's: its ``graphs`` and ``best_precision``.
    engine, precision : str
        See :func:`tinyclap.runtime.load`.

    Returns
    -------
    str
        "fp32", "int8" or "bf16".

    Raises
    ------
    ConfigError
        int8, where the folder has none.

    Example
    -------
    >>> resolved_precision({"best_precision": {"openvino": "fp32"}, "graphs": {}}, "openvino", "auto")
    'fp32'
    """
    if precision == "auto":
        return config["best_precision"].get(engine, "fp32")
    if precision == "int8" and "int8" not in config["graphs"]:
        raise ConfigError("the folder has no int8 graph; export again with --precisions fp32 int8")
    return precision


def _sigmoid(logits):
    return 0.5 * (1 + np.tanh(0.5 * logits))

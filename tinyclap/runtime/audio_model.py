"""An exported audio encoder or tagger: embeddings, tags and zero-shot classes of clips of any length and rate.

Windows, channels, resampling and scores are those of :mod:`tinyclap.models.student` and :mod:`tinyclap.teachers`;
``parity.json`` of the folder states the rounding differences. No torch.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tinyclap.audio.batch import embed_together
from tinyclap.audio.clips import as_clips, as_sources
from tinyclap.audio.cpu import n_cores
from tinyclap.audio.windows import WindowPolicy, window_batches
from tinyclap.checkpoints.folder import checked_file, read_arrays
from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.files import CONFIG, read_json
from tinyclap.runtime.session import open_session
from tinyclap.text.labels import checked_texts
from tinyclap.text.scores import l2_normalise, ranked, score

if TYPE_CHECKING:
    from tinyclap.audio.clips import Audio
    from tinyclap.runtime.text_side import TextSide

LABELS, VECTORS, GOLDEN = "labels.json", "label_vectors.npz", "golden.npz"
_BATCH_SIZE = 32


class AudioModel:
    """An exported graph from waveforms to embeddings, with its labels; made by :func:`tinyclap.runtime.load`.

    `folder`, `engine`, `precision` and `n_threads` as there; `config` is the folder's.

    Attributes
    ----------
    labels : list of str. Names that were compiled into the folder; `classify` chooses among them.
    tags : list of str. Names of the outputs of a tagger, or of a student in a tag space; else empty.
    sample_rate_hz, embed_dim : int
    label_rows : numpy.ndarray, shape (N, D), or None. Label embeddings of ``labels``.
    precision : {"fp32", "int8", "bf16"}. What "auto" came to.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        config: dict[str, Any],
        engine: str = "onnxruntime",
        precision: str = "auto",
        n_threads: int | None = None,
    ) -> None:
        self.folder, self.config = Path(folder), config
        self.sample_rate_hz, self.embed_dim = config["sample_rate_hz"], config["embed_dim"]
        self.policy, self.precision = window_policy(folder, config), resolved_precision(config, engine, precision)
        self._n_threads, graphs = n_threads, config["graphs"]
        graph = checked_file(folder, config, graphs["int8" if self.precision == "int8" else "fp32"])
        front_end = checked_file(folder, config, graphs["front_end"]) if "front_end" in graphs else None
        self._session = open_session(graph, engine, self.precision, n_threads, front_end)
        # the last bits depend on the number of threads: a clip alone gets those that it gets among many
        is_steady = n_threads is not None
        self._steady = self._session if is_steady else open_session(graph, engine, self.precision, 1, front_end)
        names = read_json(checked_file(folder, config, LABELS))
        self.labels, self.tags = (_names(folder, names.get(key)) for key in ("labels", "tags"))
        self.label_rows = None
        if self.labels:
            path = checked_file(folder, config, VECTORS)
            self.label_rows = read_arrays(path, "vectors")["vectors"].astype(np.float32)
            if self.label_rows.ndim != 2 or len(self.label_rows) != len(self.labels):
                raise CheckpointError(f"{path}: holds no row for each of {len(self.labels)} labels; export again")

    @functools.cached_property
    def text(self) -> TextSide | None:
        """The text side, opened when it is first used; None where the folder has none."""
        if "text" not in self.config:
            return None
        from tinyclap.runtime.text_side import open_text_side

        return open_text_side(self.folder, self.config, self._n_threads)

    def embed(self, audio: Audio, sample_rate_hz: float | None = None, batch_size: int = _BATCH_SIZE) -> np.ndarray:
        """Embed clips, paths or arrays as of :func:`tinyclap.audio.clips.as_clips`: (B, D), float32.

        L2-normalised where ``config["outputs"]["embedding"]["normalise"]``; else mean probabilities or features. One
        pass takes `batch_size` windows. AudioError: a clip cannot be used.
        """
        return self.outputs(audio, sample_rate_hz, batch_size)["embedding"]

    def embed_many(self, audio: Audio, sample_rate_hz: float | None = None, progress: bool | None = None) -> np.ndarray:
        """What is compared with labels: (B, D), float32; see :meth:`SoundModel.embed`."""
        sources = as_sources(audio)
        if len(sources) == 1:
            return self._compared(self.outputs(sources, sample_rate_hz, _session=self._steady))
        return embed_together(self, sources, sample_rate_hz, progress)

    @property
    def usual_workers(self) -> int:
        """How many clips at a time keep all cores at work: int."""
        return max(1, n_cores() // (self._n_threads or 1))

    def embed_windows(self, windows: np.ndarray) -> np.ndarray:
        """The same of windows (n, T) at ``sample_rate_hz``, each as it is: (n, D), float32."""
        found = self._run(self._session, windows)
        if "logits" in found:
            return _sigmoid(found["logits"])
        return l2_normalise(found["embedding"]) if self._normalises("embedding") else found["embedding"]

    def tag(self, audio: Audio, sample_rate_hz: float | None = None, batch_size: int = _BATCH_SIZE) -> np.ndarray:
        """Probabilities of ``tags``: (B, K), float32; arguments as in `embed`. ConfigError: the model is no tagger."""
        if not self.tags:
            raise ConfigError(f"{self.folder}: this model gives embeddings, no tags; classify() names sounds with it")
        return self._compared(self.outputs(audio, sample_rate_hz, batch_size))

    def scores(self, audio: Audio, sample_rate_hz: float | None = None, batch_size: int = _BATCH_SIZE) -> np.ndarray:
        """Scores of ``labels`` by ``config["score"]``: (B, N), float32; arguments as in `embed`."""
        if self.label_rows is None:
            raise ConfigError(f"{self.folder}: exported without labels; export again with --labels 'dog,rain,…'")
        rows = self._compared(self.outputs(audio, sample_rate_hz, batch_size))
        return score(rows, self.label_rows, self.config["score"])

    def classify(
        self,
        audio: Audio,
        labels: Iterable[str] | None = None,
        top: int = 5,
        sample_rate_hz: float | None = None,
        batch_size: int = _BATCH_SIZE,
    ) -> list[list[tuple[str, float]]]:
        """Zero-shot classification: the best labels of each clip with their scores, list of list of (str, float).

        Arguments
        ---------
        audio, sample_rate_hz, batch_size : As in `embed`.
        labels : list of str or None. Those of the compiled labels to choose among; None takes all.
        top : int
        """
        scores = self.scores(audio, sample_rate_hz, batch_size)
        labels = None if labels is None else checked_texts(labels)
        if unknown := sorted(set(labels or ()) - set(self.labels)):
            raise ConfigError(
                f"{self.folder}: no vectors for {', '.join(unknown)}; it was exported with {len(self.labels)} labels "
                f"({', '.join(self.labels[:5])}, …). Export again with --labels: new ones need the text side"
            )
        return ranked(scores, self.labels, top, labels)

    def check(self) -> dict[str, float]:
        """Maximum differences of this machine's outputs from torch's on the folder's golden clips: dict by output."""
        worst: dict[str, float] = {}
        golden = read_arrays(checked_file(self.folder, self.config, GOLDEN), "sample_rates_hz")
        for index, rate_hz in enumerate(golden["sample_rates_hz"]):
            for name, rows in self.outputs([golden[f"clip_{index}"]], int(rate_hz)).items():
                worst[name] = max(worst.get(name, 0.0), float(np.abs(rows[0] - golden[name][index]).max()))
        return worst

    def outputs(
        self, audio: Audio, sample_rate_hz: float | None = None, batch_size: int = _BATCH_SIZE, _session: Any = None
    ) -> dict[str, np.ndarray]:
        """Every output, averaged over each clip's windows: dict of name to (B, ·), float32; arguments as in `embed`."""
        clips = as_clips(audio, self.sample_rate_hz, self.config["resampler"], sample_rate_hz)
        totals: dict[str, np.ndarray] = {}
        counts = np.zeros((len(clips), 1), np.float32)
        for owners, windows in window_batches(clips, self.sample_rate_hz, self.policy, batch_size):
            np.add.at(counts, owners, 1)
            for name, rows in self._run(_session or self._session, np.stack(windows)).items():
                sums = totals.setdefault(name, np.zeros((len(clips), rows.shape[-1]), np.float32))
                np.add.at(sums, owners, l2_normalise(rows) if self._normalises(name) else rows)
        means = {name: sums / counts for name, sums in totals.items()}
        return {name: l2_normalise(rows) if self._normalises(name) else rows for name, rows in means.items()}

    def _run(self, session, windows):
        """One pass: windows (n, T) → dict of output name to (n, ·)."""
        found = dict(zip(session.output_names, session.run({"wavs": windows}), strict=True))
        if "embedding" not in found or found["embedding"].shape[1:] != (self.embed_dim,):
            raise CheckpointError(f"{self.folder}: its graph gives no embedding of {self.embed_dim} dimensions")
        return found

    def _compared(self, outputs):
        """The rows that are compared with labels: a tagger's probabilities, else embeddings."""
        return _sigmoid(outputs["logits"]) if self.tags and "logits" in outputs else outputs["embedding"]

    def _normalises(self, name):
        return self.config["outputs"].get(name, {}).get("normalise", False)


def window_policy(folder: str | os.PathLike[str], config: dict[str, Any]) -> WindowPolicy:
    """The window policy of an exported folder; a CheckpointError where it is none."""
    known = {key: config["window"][key] for key in ("window_s", "short", "hop_s", "min_s") if key in config["window"]}
    try:
        return WindowPolicy(**known)
    except ConfigError as error:
        raise CheckpointError(f"{Path(folder) / CONFIG}: {error}; export the model again") from error


def resolved_precision(config: Mapping[str, Any], engine: str, precision: str) -> str:
    """The precision to run: what "auto" stands for. ConfigError: int8, where the folder has none.

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


def _names(folder, names):
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise CheckpointError(f"{Path(folder) / LABELS}: holds no lists of labels and tags; export the model again")
    return names


def _sigmoid(logits):
    return 0.5 * (1 + np.tanh(0.5 * logits))

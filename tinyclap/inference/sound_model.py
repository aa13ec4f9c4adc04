"""The model that :func:`tinyclap.from_pretrained` returns: embeddings, zero-shot classes, captions, search."""

from __future__ import annotations

import functools
import numbers
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tinyclap.errors import AudioError, CheckpointError, ConfigError
from tinyclap.text.label_embeddings import label_embeddings, text_embeddings
from tinyclap.text.scores import l2_normalise, ranked, score, softmax_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tinyclap.audio.clips import Audio
    from tinyclap.search.index import SearchIndex
    from tinyclap.text.bank import LabelBank

    Labels = str | Iterable[str] | LabelBank
    Rows = NDArray[np.float32]

_CAPTION_OPTIONS = ("beam", "max_words", "min_words", "n_best", "batch_size")


class SoundModel:
    """A model ready to use; made by :func:`tinyclap.from_pretrained`.

    It can be pickled and copied: what travels is where the model is, and it is opened again when it is first used.

    Arguments
    ---------
    backend, name : An AudioModel, CaptionModel or CheckpointModel, which computes, and what to call it in messages.
    dim : int or None. Keep the `dim` most important dimensions, of an exported model in which an order is stored.
    opening : dict, optional. Arguments of :func:`tinyclap.from_pretrained` that open the same model again.

    Attributes
    ----------
    kind : {"audio_encoder", "tagger", "captioner"}
    config : dict. Of the model's folder.
    sample_rate_hz : int. Of the network; audio of any rate is resampled to it.
    embed_dim : int. D, the width of embeddings.
    labels : list of str. Names compiled into the model, which `classify` takes when none are given.
    score_kind : {"cosine", "dot", "sqrt_dot"}
        How embeddings are compared with texts; sqrt_dot: dot product with the square roots of the tags' probabilities.
    """

    def __init__(self, backend: Any, name: str, dim: int | None = None, opening: dict[str, Any] | None = None) -> None:
        self.backend, self.name = backend, name
        self.config: dict[str, Any] = backend.config
        self.kind: str = backend.config["kind"]
        self.sample_rate_hz: int = backend.sample_rate_hz
        self.embed_dim: int = len(backend.tags) if self.kind == "tagger" else backend.embed_dim
        self.labels: list[str] = list(getattr(backend, "labels", ()))
        self.score_kind: str = backend.config.get("score", "cosine")
        self._opening = opening or {"source": Path(backend.folder).absolute(), "dim": dim}
        self._kept = None if dim is None else _first_dims(self.config, dim, self.embed_dim, name)
        if self._kept is not None:
            self.embed_dim = len(self._kept)

    @functools.cached_property
    def backend(self) -> Any:
        """What computes; of a model that was pickled or copied it is opened here, at its first use."""
        from tinyclap.inference.pretrained import from_pretrained

        again = from_pretrained(**self._opening)
        if any(again.config.get(key) != self.config.get(key) for key in ("files", "saved")):
            raise CheckpointError(f"{self.name}: another model is there since this one was pickled; open it again")
        return again.backend

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "backend"}

    @property
    def is_cut(self) -> bool:
        """Whether it was opened with fewer dimensions than its graph has."""
        return self._kept is not None

    def columns(self, rows: Rows) -> Rows:
        """The kept dimensions of embeddings (n, D_whole): (n, D), normalised again where scores are cosines."""
        if self._kept is None:
            return rows
        rows = rows[:, self._kept]
        return l2_normalise(rows) if self.score_kind == "cosine" else rows

    def __repr__(self) -> str:
        return f"SoundModel({self.name!r}, kind={self.kind!r}, {self.embed_dim} dimensions, {self.sample_rate_hz} Hz)"

    def embed(self, audio: Audio, sample_rate_hz: int | None = None, progress: bool | None = None) -> Rows:
        """Embed recordings: (B, D), float32, each row the same alone and among others; L2-normalised for cosines.

        Arguments
        ---------
        audio : path, bytes, file object, array, dict, or a sequence of them
            Of any format, rate and length: paths; bytes of an audio file, or an open one; arrays (T,), batches (B, T)
            or (B, channels, T), floats in [-1, 1] or int16, int32, uint8; or what Hugging Face data sets hold:
            ``{"array": …, "sampling_rate": …}``, ``{"path": …}``, ``{"bytes": …}``. A list, tuple, generator or pandas
            column of these; in it, an array may also be (channels, T). Channels are averaged.
        sample_rate_hz : int or None. Of arrays, in Hz; needed where there are any.
        progress : bool or None. Show a bar; None shows one at a terminal when there are more than 20 recordings.

        Raises
        ------
        AudioError: A recording cannot be used; the message says which and why.

        Example
        -------
        >>> import tinyclap
        >>> model = tinyclap.from_pretrained()
        >>> model.embed(np.zeros((2, 16000), np.float32), sample_rate_hz=16000).shape
        (2, 527)
        """
        self._require_encoder()
        return self.columns(self.backend.embed_many(audio, sample_rate_hz, progress))

    def embed_windows(self, windows: Rows) -> Rows:
        """Embed windows (n, T) at ``sample_rate_hz`` without cutting or padding them: (n, D), float32. For streams."""
        self._require_encoder()
        windows = np.ascontiguousarray(windows, np.float32)
        if windows.ndim != 2 or not np.isfinite(windows).all():
            raise AudioError("the windows", f"of shape {windows.shape}: give finite samples, (n, T)")
        return self.columns(self.backend.embed_windows(windows))

    def _require_encoder(self) -> None:
        if self.kind == "captioner":
            raise ConfigError(f"{self.name} is a captioner: it cannot embed into a space with texts; open an encoder")

    def embed_text(self, texts: str | Iterable[str], template: str | list[str] | None = None) -> Rows:
        """Embed sentences, or class names in templates with ``{}``: str or N of them → (N, D), float32."""
        return self.columns(text_embeddings(self, texts, "{}" if template is None else template))

    def label_vectors(
        self, labels: Labels | None = None, template: str | list[str] | None = None
    ) -> tuple[list[str], Rows]:
        """Labels and their embeddings (N, D), float32; `labels` and `template` as in `classify`.

        ConfigError: no labels, one that is missing, repeated, or that the text tower cannot read; a bank of another
        model; or new names and no text side.
        """
        names, vectors = label_embeddings(self, labels, template)
        return names, self.columns(vectors)

    def scores(
        self,
        audio: Audio,
        labels: Labels | None = None,
        template: str | list[str] | None = None,
        sample_rate_hz: int | None = None,
        progress: bool | None = None,
    ) -> Rows:
        """Scores of labels for recordings: (B, N), float32; cosines in [-1, 1], or unbounded sums (``score_kind``).

        Arguments
        ---------
        audio, sample_rate_hz, progress : As in `embed`.
        labels, template : As in `classify`.
        """
        _, vectors = self.label_vectors(labels, template)
        return self.score_rows(self.embed(audio, sample_rate_hz, progress), vectors)

    def score_rows(self, rows: Rows, vectors: Rows) -> Rows:
        """Scores of embeddings (B, D) and label embeddings (N, D): (B, N)."""
        return score(rows, vectors, self.score_kind)

    def similarity(self, audio: Audio, texts: str | Iterable[str], sample_rate_hz: int | None = None) -> Rows:
        """Scores of sentences for recordings, without a template: (B, N), float32; arguments as in `scores`."""
        vectors = self.embed_text(texts)
        return self.score_rows(self.embed(audio, sample_rate_hz), vectors)

    def classify(
        self,
        audio: Audio,
        labels: Labels | None = None,
        template: str | list[str] | None = None,
        top: int = 5,
        sample_rate_hz: int | None = None,
        scores: bool = False,
    ) -> list[list[tuple[str, float]]]:
        """Zero-shot classification: the best labels of each recording.

        Arguments
        ---------
        audio, sample_rate_hz : Recordings, and the rate of arrays; as in `embed`.
        labels : sequence of str, LabelBank or None. Names in plain English, a bank, or None for the model's own labels.
        template : str, list of str or None. Prompts with ``{}`` for the name, to average; None takes the model's own.
        top : int. Labels to give for each recording, at most.
        scores : bool. Give scores, which do not depend on the other labels, in place of probabilities.

        Returns
        -------
        list of list of (str, float)
            For each recording (label, probability), best first. Probabilities are a softmax over all given labels.
            Where the model has no temperature, the labels are one alone or a bank of its tags, these are scores.

        Example
        -------
        >>> import tinyclap
        >>> model = tinyclap.from_pretrained()
        >>> noise = np.random.default_rng(0).uniform(-0.1, 0.1, 32000)
        >>> [[name for name, _ in best] for best in model.classify(noise, ["rain", "dog"], sample_rate_hz=16000)]
        [['rain', 'dog']]
        """
        if isinstance(top, bool) or not isinstance(top, numbers.Integral) or top < 1:
            raise ConfigError(f"top={top!r}: give a whole number of labels, 1 or more")
        names, vectors = self.label_vectors(labels, template)
        values = self.score_rows(self.embed(audio, sample_rate_hz), vectors)
        if not scores and len(names) > 1 and self.gives_probabilities(labels):
            values = self.probabilities(values)
        return ranked(values, names, top)

    def gives_probabilities(self, labels: Labels | None = None) -> bool:
        """Whether a temperature was fitted for these labels; it is of texts, so not for a bank of its tags."""
        return "temperature" in self.config.get("calibration", {}) and getattr(labels, "is_of_texts", True)

    def probabilities(self, scores: Rows) -> Rows:
        """Softmax of scores (B, N) over the labels, at the model's fitted temperature; a ConfigError where none is."""
        if not self.gives_probabilities():
            raise ConfigError(f"{self.name}: no temperature is stored with this model; take scores=True")
        return softmax_rows(scores, self.config["calibration"]["temperature"])

    def caption(self, audio: Audio, sample_rate_hz: int | None = None, **options: Any) -> list[str]:
        """Describe recordings in a sentence each: list of str; `audio` and `sample_rate_hz` as in `embed`.

        Options are ``beam`` and the others of :meth:`tinyclap.runtime.captioner.CaptionModel.describe`.
        """
        if self.kind != "captioner":
            raise ConfigError(f"{self.name} classifies and does not caption; open a captioner")
        known = _CAPTION_OPTIONS + (("forbidden_ids",) if hasattr(self.backend, "decoder") else ())
        unknown = sorted(set(options) - set(known))
        if unknown:
            raise ConfigError(f"caption: no option {', '.join(unknown)}; there are: {', '.join(known)}")
        return self.backend.caption(audio, sample_rate_hz, **options)

    def search(
        self,
        query: str | os.PathLike[str] | NDArray[Any],
        index: str | os.PathLike[str] | SearchIndex,
        k: int = 10,
        sample_rate_hz: int | None = None,
    ) -> list[tuple[str, float]]:
        """Find the recordings of an index that fit a text or a recording best: list of (path, score), best first.

        Arguments
        ---------
        query : str, os.PathLike or numpy.ndarray. A sentence; a recording that exists; a clip (T,) or (channels, T).
        index : str, os.PathLike or tinyclap.search.index.SearchIndex
        k : int. Recordings to give.
        sample_rate_hz : int or None. Of an array, in Hz.
        """
        from tinyclap.search.index import SearchIndex

        index = index if isinstance(index, SearchIndex) else SearchIndex.open(index)
        return index.search(self, query, k, sample_rate_hz)

    def save_pretrained(self, folder: str | os.PathLike[str], **options: Any) -> Path:
        """Write the model with its card into `folder`; see :func:`tinyclap.inference.saved_folders.save_pretrained`."""
        from tinyclap.inference.saved_folders import save_pretrained

        return save_pretrained(self, folder, **options)

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Publish the model on the Hugging Face hub; see :func:`tinyclap.inference.hub.push_to_hub`."""
        from tinyclap.inference.hub import push_to_hub

        return push_to_hub(self, repo_id, **options)


def _first_dims(config: dict[str, Any], dim: int, n_dims: int, name: str) -> NDArray[Any]:
    """Columns of the `dim` most important dimensions."""
    order = config.get("latent", {}).get("order")
    if order is None:
        raise ConfigError(
            f"{name}: no order of its dimensions is stored, so there is none to take the first {dim} of; "
            "store one with: python prune.py"
        )
    if isinstance(dim, bool) or not isinstance(dim, numbers.Integral) or not 1 <= dim <= n_dims:
        raise ConfigError(f"{name} has {n_dims} dimensions; dim={dim!r} is not among 1 … {n_dims}")
    return np.asarray(order[:dim])

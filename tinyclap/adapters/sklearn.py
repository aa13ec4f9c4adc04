"""A scikit-learn transformer and a zero-shot classifier, for pipelines, searches and cross-validation.

    make_pipeline(TinyclapTransformer(), LogisticRegression()).fit(paths, y)
    ZeroShotClassifier(labels=["dog", "rain", "siren"]).predict(paths)

Estimators hold the model's name alone, so they are cloned and pickled like any other; the model is opened when it is
first used, once in a process.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin

from tinyclap.config.shipped import DEFAULT_MODEL, shipped_folder
from tinyclap.errors import ConfigError
from tinyclap.inference.pretrained import from_pretrained
from tinyclap.text.scores import softmax_rows

if TYPE_CHECKING:
    from tinyclap.audio.clips import Audio
    from tinyclap.inference.sound_model import SoundModel
    from tinyclap.text.bank import LabelBank

_N_KEPT = 4  # models that stay open


class _SoundEstimator(BaseEstimator):
    """A model by its name, and recordings as X."""

    model: str | os.PathLike[str]
    sample_rate_hz: int | None
    dim: int | None
    engine: str
    precision: str
    n_threads: int | None

    def open_model(self) -> SoundModel:
        """The model, shared by all estimators with the same parameters."""
        if not isinstance(self.model, (str, os.PathLike)):
            raise ConfigError(f"model={self.model!r}: give a name or a folder, so that clones and pickles can open it")
        config = (shipped_folder(self.model) or Path(self.model)) / "config.json"
        changed = config.stat().st_mtime_ns if config.is_file() else None
        return _opened(str(self.model), self.dim, self.engine, self.precision, self.n_threads, changed)

    def embed(self, X: Audio) -> np.ndarray:
        """Embeddings of X: (B, D), float32."""
        return self.open_model().embed(X, self.sample_rate_hz)

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.no_validation = True
        tags.input_tags.string = True
        return tags


class TinyclapTransformer(TransformerMixin, _SoundEstimator):
    """Recordings → embeddings.

    Arguments
    ---------
    sample_rate_hz : int or None. Of arrays in X; paths need none.
    model, dim, engine, precision, n_threads : As in :func:`tinyclap.from_pretrained`.

    Example
    -------
    >>> TinyclapTransformer(dim=8).get_params()["dim"]
    8
    """

    def __init__(
        self,
        model: str | os.PathLike[str] = DEFAULT_MODEL,
        sample_rate_hz: int | None = None,
        dim: int | None = None,
        engine: str = "onnxruntime",
        precision: str = "auto",
        n_threads: int | None = None,
    ) -> None:
        self.model, self.sample_rate_hz, self.dim = model, sample_rate_hz, dim
        self.engine, self.precision, self.n_threads = engine, precision, n_threads

    def fit(self, X: Any = None, y: Any = None) -> TinyclapTransformer:
        """Nothing is learnt: returns itself."""
        return self

    def transform(self, X: Audio) -> np.ndarray:
        """Embeddings of X, as for :meth:`tinyclap.SoundModel.embed`: (B, D), float32."""
        return self.embed(X)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the columns: ``tinyclap0``, ``tinyclap1`` …"""
        return np.asarray([f"tinyclap{index}" for index in range(self.open_model().embed_dim)], dtype=object)


class ZeroShotClassifier(ClassifierMixin, _SoundEstimator):
    """Recordings → one of a list of labels, with no training.

    Arguments
    ---------
    labels : sequence of str, LabelBank or None. None takes those that `fit` finds in y, else the model's own labels.
    template : str, list of str or None. Prompts with ``{}`` for the name; None takes the model's own.
    temperature : float or None. Of the softmax in `predict_proba`; None takes the model's own.
    model, sample_rate_hz, dim, engine, precision, n_threads : As in :class:`TinyclapTransformer`.

    Attributes
    ----------
    classes_ : numpy.ndarray, shape (N,). Sorted, as scikit-learn's scorers expect; the order of all columns.
    """

    def __init__(
        self,
        labels: Sequence[str] | LabelBank | None = None,
        template: str | list[str] | None = None,
        model: str | os.PathLike[str] = DEFAULT_MODEL,
        temperature: float | None = None,
        sample_rate_hz: int | None = None,
        dim: int | None = None,
        engine: str = "onnxruntime",
        precision: str = "auto",
        n_threads: int | None = None,
    ) -> None:
        self.labels, self.template, self.model, self.temperature = labels, template, model, temperature
        self.sample_rate_hz, self.dim = sample_rate_hz, dim
        self.engine, self.precision, self.n_threads = engine, precision, n_threads

    @property
    def classes_(self) -> np.ndarray:
        """The labels, sorted."""
        return np.unique(self._label_embeddings()[0])

    def fit(self, X: Any = None, y: Any = None) -> ZeroShotClassifier:
        """Notes the classes of y, where no labels were given; nothing else is learnt. Returns itself."""
        if y is not None:
            self.found_labels_ = [str(name) for name in np.unique(np.asarray(y))]
        return self

    def decision_function(self, X: Audio) -> np.ndarray:
        """Scores of the labels: (B, N), columns as in ``classes_``.

        Of two labels (B,): the second's score less the first's, as scikit-learn has it.
        """
        scores = self._scores(X)
        return scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores

    def predict(self, X: Audio) -> np.ndarray:
        """The best label of each recording: (B,), of str."""
        return self.classes_[self._scores(X).argmax(axis=1)]

    def predict_proba(self, X: Audio) -> np.ndarray:
        """Probabilities of the labels, which add up to 1: (B, N)."""
        if self.temperature is None:
            return self.open_model().probabilities(self._scores(X))
        return softmax_rows(self._scores(X), self.temperature)

    def _scores(self, X: Audio) -> np.ndarray:
        names, vectors = self._label_embeddings()
        return self.open_model().score_rows(self.embed(X), vectors)[:, np.unique(names, return_index=True)[1]]

    def _label_embeddings(self) -> tuple[list[str], np.ndarray]:
        labels = getattr(self, "found_labels_", None) if self.labels is None else self.labels
        return self.open_model().label_vectors(labels, self.template)


@functools.lru_cache(maxsize=_N_KEPT)
def _opened(
    source: str, dim: int | None, engine: str, precision: str, n_threads: int | None, _changed: int | None
) -> SoundModel:
    """One model for all estimators with the same parameters, opened again when its folder is written again."""
    return from_pretrained(source, dim=dim, engine=engine, precision=precision, n_threads=n_threads)

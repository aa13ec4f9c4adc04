"""A scikit-learn transformer and a zero-shot classifier: both work in pipelines, searches and cross-validation.

    make_pipeline(TinyclapTransformer(), LogisticRegression()).fit(paths, y)
    ZeroShotClassifier(labels=["dog", "rain", "siren"]).predict(paths)

The model is opened when it is first needed, once in a process; estimators hold its name alone, so they are cloned and
pickled like any other.
"""

import functools
import os
from pathlib import Path

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin

from tinyclap.config.shipped import DEFAULT_MODEL, shipped_folder
from tinyclap.errors import ConfigError
from tinyclap.inference.pretrained import from_pretrained
from tinyclap.text.scores import softmax_rows

_N_KEPT = 4  # models that stay open


class _SoundEstimator(BaseEstimator):
    """What both have: a model by its name, and recordings as X."""

    def open_model(self):
        """The model: a :class:`SoundModel`, shared by all estimators that say the same."""
        if not isinstance(self.model, (str, os.PathLike)):
            raise ConfigError(f"model={self.model!r}: give a name or a folder, so that clones and pickles can open it")
        place = shipped_folder(self.model) or Path(self.model)
        config = place / "config.json"
        changed = config.stat().st_mtime_ns if config.is_file() else None
        return _opened(str(self.model), self.dim, self.engine, self.precision, self.n_threads, changed)

    def embed(self, X):
        """Embeddings of X: (B, D), float32."""
        return self.open_model().embed(_recordings(X), self.sample_rate_hz)

    def __sklearn_is_fitted__(self):
        return True

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.no_validation = True
        tags.input_tags.string = True
        return tags


class TinyclapTransformer(TransformerMixin, _SoundEstimator):
    """Recordings → embeddings.

    Arguments
    ---------
    model : str or os.PathLike
        As in :func:`tinyclap.from_pretrained`.
    sample_rate_hz : int or None
        Of arrays in X; paths need none.
    dim, engine, precision, n_threads
        As in :func:`tinyclap.from_pretrained`.

    Example
    -------
    >>> TinyclapTransformer(dim=8).get_params()["dim"]
    8
    """

    def __init__(
        self,
        model=DEFAULT_MODEL,
        sample_rate_hz=None,
        dim=None,
        engine="onnxruntime",
        precision="auto",
        n_threads=None,
    ):
        self.model, self.sample_rate_hz, self.dim = model, sample_rate_hz, dim
        self.engine, self.precision, self.n_threads = engine, precision, n_threads

    def fit(self, X=None, y=None):
        """Nothing is learnt: returns itself."""
        return self

    def transform(self, X):
        """Embed recordings.

        Arguments
        ---------
        X : sequence of str, os.PathLike or numpy.ndarray; or numpy.ndarray of shape (B, T); or a one-column table

        Returns
        -------
        numpy.ndarray, shape (B, D), float32

        Raises
        ------
        AudioError
            A recording cannot be used.
        """
        return self.embed(X)

    def get_feature_names_out(self, input_features=None):
        """Names of the columns: ``tinyclap0``, ``tinyclap1`` …"""
        return np.asarray([f"tinyclap{index}" for index in range(self.open_model().embed_dim)], dtype=object)


class ZeroShotClassifier(ClassifierMixin, _SoundEstimator):
    """Recordings → one of any list of labels, with no training.

    Arguments
    ---------
    labels : sequence of str, tinyclap.text.bank.LabelBank or None
        What to choose among. None takes what `fit` finds in y, else the model's own labels.
    template : str, list of str or None
        Prompts with ``{}`` for the name; None takes the model's own.
    model : str or os.PathLike
        As in :func:`tinyclap.from_pretrained`.
    temperature : float or None
        Of the softmax in `predict_proba`; None takes the model's own.
    sample_rate_hz, dim, engine, precision, n_threads
        As in :class:`TinyclapTransformer`.

    Attributes
    ----------
    classes_ : numpy.ndarray, shape (N,)
        Sorted, as scikit-learn's scorers expect; the order of all columns.
    """

    def __init__(
        self,
        labels=None,
        template=None,
        model=DEFAULT_MODEL,
        temperature=None,
        sample_rate_hz=None,
        dim=None,
        engine="onnxruntime",
        precision="auto",
        n_threads=None,
    ):
        self.labels, self.template, self.model, self.temperature = labels, template, model, temperature
        self.sample_rate_hz, self.dim = sample_rate_hz, dim
        self.engine, self.precision, self.n_threads = engine, precision, n_threads

    @property
    def classes_(self):
        """What is chosen among, sorted."""
        return np.unique(self._names_and_vectors()[0])

    def fit(self, X=None, y=None):
        """Notes the classes of y, where no labels were given; nothing else is learnt. Returns itself."""
        if y is not None:
            self.found_labels_ = [str(name) for name in np.unique(np.asarray(y))]
        return self

    def decision_function(self, X):
        """Scores of the labels.

        Arguments
        ---------
        X
            As in :meth:`TinyclapTransformer.transform`.

        Returns
        -------
        numpy.ndarray, shape (B, N), or (B,) where N is 2
            Columns as in ``classes_``; of two labels the second's score less the first's, as scikit-learn has it.
        """
        scores = self._scores(X)
        return scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores

    def predict(self, X):
        """The likeliest label of each recording: (B,), of str."""
        return self.classes_[self._scores(X).argmax(axis=1)]

    def predict_proba(self, X):
        """Shares of the labels, which add up to 1: (B, N).

        Raises
        ------
        ConfigError
            No temperature was fitted to this model, and none is given.
        """
        scores, model = self._scores(X), self.open_model()
        if self.temperature is None:
            return model.probabilities(scores)
        return softmax_rows(scores, self.temperature)

    def _scores(self, X):
        names, vectors = self._names_and_vectors()
        return self.open_model().score_rows(self.embed(X), vectors)[:, np.unique(names, return_index=True)[1]]

    def _names_and_vectors(self):
        labels = getattr(self, "found_labels_", None) if self.labels is None else self.labels
        return self.open_model().label_vectors(labels, self.template)


def _recordings(X):
    """X as :func:`tinyclap.audio.clips.as_clips` takes it: tables and arrays of names become lists."""
    if hasattr(X, "to_numpy"):
        X = X.to_numpy()
    if isinstance(X, np.ndarray) and X.dtype.kind in "OUST":
        X = X.reshape(-1).tolist() if X.ndim == 2 and X.shape[1] == 1 else X.tolist()
    return X


@functools.lru_cache(maxsize=_N_KEPT)
def _opened(source, dim, engine, precision, n_threads, _changed):
    """One model for all estimators that say the same, opened anew where its folder was written again."""
    return from_pretrained(source, dim=dim, engine=engine, precision=precision, n_threads=n_threads)

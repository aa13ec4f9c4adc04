"""One model, whatever computes it: embeddings, classes by name, similarities, captions and search. numpy in and out.

Made by :func:`tinyclap.from_pretrained`. What computes is an :class:`tinyclap.runtime.audio_model.AudioModel` or
:class:`CaptionModel` (no torch), or a :class:`CheckpointModel`.
"""

import numpy as np

from tinyclap.errors import ConfigError
from tinyclap.text.label_vectors import label_vectors
from tinyclap.text.scores import ranked, score, softmax_rows, unit_rows


class SoundModel:
    """A model ready to use.

    Arguments
    ---------
    backend : object
        What computes.
    name : str
        What it was asked for by.
    dim : int or None
        Keep the `dim` most important dimensions, of an exported model in which an order is stored.

    Attributes
    ----------
    backend : object
    name : str
    kind : {"audio_encoder", "tagger", "captioner"}
    config : dict
    sample_rate_hz, embed_dim : int
    labels : list of str
        Names that are compiled into the model; `classify` takes them when none are given.
    score_kind : {"cosine", "dot", "sqrt_dot"}

    Raises
    ------
    ConfigError
        No order is stored, or there are not so many dimensions.
    """

    def __init__(self, backend, name, dim=None):
        self.backend, self.name = backend, name
        self.kind, self.config = backend.config["kind"], backend.config
        self.sample_rate_hz, self.embed_dim = backend.sample_rate_hz, backend.embed_dim
        if self.kind == "tagger":
            self.embed_dim = len(backend.tags)  # what labels are compared with: the probabilities of the tags
        self.labels = list(getattr(backend, "labels", ()))
        self.score_kind = backend.config.get("score", "cosine")
        self._kept = None if dim is None else _first_dims(self.config, dim, self.embed_dim, name)
        if self._kept is not None:
            self.embed_dim = len(self._kept)

    @property
    def is_cut(self):
        """Whether it was opened with fewer dimensions than its graph has: bool."""
        return self._kept is not None

    def columns(self, rows):
        """Rows (n, D_whole) of the whole space in the dimensions that are kept: (n, D), unit rows again for cosines."""
        if self._kept is None:
            return rows
        rows = rows[:, self._kept]
        return unit_rows(rows) if self.score_kind == "cosine" else rows

    def __repr__(self):
        return f"SoundModel({self.name!r}, kind={self.kind!r}, {self.embed_dim} dimensions, {self.sample_rate_hz} Hz)"

    def embed(self, audio, sample_rate_hz=None, progress=None):
        """Embed clips.

        Arguments
        ---------
        audio : str, os.PathLike, numpy.ndarray, or a sequence of them
            Recordings of any format, rate and length; or clips of shape (T,) or (channels, T), or a batch (B, T):
            floats in [-1, 1], or integers.
        sample_rate_hz : int or None
            Of arrays; needed where there are any.
        progress : bool or None
            Show a bar; None shows one at a terminal when there are many recordings.

        Returns
        -------
        numpy.ndarray, shape (B, D), float32
            Unit rows where scores are cosines; a row depends on its own clip alone.

        Raises
        ------
        AudioError
            A clip cannot be used; the message says which and why.
        """
        self._require_sounds("embed")
        return self.columns(self.backend.embed_many(audio, sample_rate_hz, progress))

    def embed_windows(self, windows):
        """Embed windows (n, T) float32 at ``sample_rate_hz``, each as it is: (n, D), float32. For streams."""
        return self.columns(self.backend.embed_windows(np.ascontiguousarray(windows, np.float32)))

    def embed_text(self, texts, template=None):
        """Embed sentences, or class names by a template.

        Arguments
        ---------
        texts : str or list of str, N of them
        template : str, list of str or None
            With ``{}`` for the name; None takes texts as they stand.

        Returns
        -------
        numpy.ndarray, shape (N, D), float32
            As they are compared with sounds by ``score_kind``.

        Raises
        ------
        ConfigError
            The model has no text side.
        """
        texts = [texts] if isinstance(texts, str) else list(texts)
        return self.label_vectors(texts, "{}" if template is None else template)[1]

    def label_vectors(self, labels=None, template=None):
        """What sounds are compared with.

        Arguments
        ---------
        labels : list of str, LabelBank or None
            Names, a compiled bank, or None for the model's own labels.
        template : str, list of str or None
            Prompts with ``{}`` for the name; None takes the model's own.

        Returns
        -------
        list of str, N of them
        numpy.ndarray, shape (N, D), float32

        Raises
        ------
        ConfigError
            There are no labels; a bank of another model; or new names and no text side.
        """
        names, vectors = label_vectors(self, labels, template)
        return names, self.columns(vectors)

    def scores(self, audio, labels=None, template=None, sample_rate_hz=None, progress=None):
        """How well each label fits each clip.

        Arguments
        ---------
        audio, sample_rate_hz, progress
            As in `embed`.
        labels, template
            As in `label_vectors`.

        Returns
        -------
        numpy.ndarray, shape (B, N), float32
            Of the kind that ``score_kind`` names: cosines in [-1, 1], or sums that have no bound above.

        Raises
        ------
        AudioError, ConfigError
            As in `embed` and `label_vectors`.
        """
        _, vectors = self.label_vectors(labels, template)
        return self.score_rows(self.embed(audio, sample_rate_hz, progress), vectors)

    def score_rows(self, rows, vectors):
        """Scores of embeddings (B, D) and label vectors (N, D): (B, N)."""
        return score(rows, vectors, self.score_kind)

    def similarity(self, audio, texts, sample_rate_hz=None):
        """How well sentences fit clips: as `scores`, but sentences are taken as they stand, without a template.

        Arguments
        ---------
        audio, sample_rate_hz
            As in `embed`.
        texts : str or list of str, N of them

        Returns
        -------
        numpy.ndarray, shape (B, N), float32
        """
        texts = [texts] if isinstance(texts, str) else list(texts)
        return self.scores(audio, texts, "{}", sample_rate_hz)

    def classify(self, audio, labels=None, template=None, top=5, sample_rate_hz=None, probabilities=False):
        """Name the sounds of clips, zero-shot.

        Arguments
        ---------
        audio, sample_rate_hz
            As in `embed`.
        labels, template
            As in `label_vectors`.
        top : int
            How many to name for each clip.
        probabilities : bool
            Give shares among the labels, which add up to 1, in place of scores; see `probabilities`.

        Returns
        -------
        list of list of (str, float)
            For each clip the likeliest labels, best first.

        Raises
        ------
        AudioError, ConfigError
            As in `embed` and `label_vectors`.
        """
        names, vectors = self.label_vectors(labels, template)
        rows = self.score_rows(self.embed(audio, sample_rate_hz), vectors)
        return ranked(self.probabilities(rows) if probabilities else rows, names, top)

    def probabilities(self, scores):
        """Softmax of scores (B, N) over the labels, at the temperature that the model's config states: (B, N).

        Raises
        ------
        ConfigError
            No temperature was fitted to this model.
        """
        temperature = self.config.get("calibration", {}).get("temperature")
        if temperature is None:
            raise ConfigError(f"{self.name}: no temperature is stored with this model; take the scores as they are")
        return softmax_rows(scores, temperature)

    def caption(self, audio, sample_rate_hz=None, **options):
        """Describe clips in words: list of str.

        Arguments
        ---------
        audio, sample_rate_hz
            As in `embed`.
        **options
            ``beam`` and the others of :meth:`tinyclap.runtime.captioner.CaptionModel.describe`.

        Raises
        ------
        ConfigError
            The model is no captioner.
        """
        if self.kind != "captioner":
            raise ConfigError(f"{self.name} names sounds and does not caption; open a captioner")
        return self.backend.caption(audio, sample_rate_hz, **options)

    def search(self, query, index, k=10, sample_rate_hz=None):
        """Find the recordings of an index that fit a text or a sound best.

        Arguments
        ---------
        query : str, os.PathLike or numpy.ndarray
            A sentence; or a recording, where the path exists; or a clip of shape (T,) or (channels, T).
        index : str, os.PathLike or tinyclap.search.index.SearchIndex
        k : int
        sample_rate_hz : int or None
            Of an array.

        Returns
        -------
        list of (str, float)
            Path and score, best first.
        """
        from tinyclap.search.index import SearchIndex

        index = index if isinstance(index, SearchIndex) else SearchIndex.open(index)
        return index.search(self, query, k, sample_rate_hz)

    def save_pretrained(self, folder, **options):
        """Copy the model to `folder`, with its model card; options as for :func:`save_pretrained`."""
        from tinyclap.inference.hub import save_pretrained

        return save_pretrained(self, folder, **options)

    def push_to_hub(self, repo_id, **options):
        """Publish the model on the hub; see :func:`tinyclap.inference.hub.push_to_hub`."""
        from tinyclap.inference.hub import push_to_hub

        return push_to_hub(self, repo_id, **options)

    def _require_sounds(self, what):
        if self.kind == "captioner":
            raise ConfigError(f"{self.name} is a captioner: it cannot {what} in a space with texts; open an encoder")


def _first_dims(config, dim, n_dims, name):
    """Columns of the `dim` most important dimensions."""
    order = config.get("latent", {}).get("order")
    if order is None:
        raise ConfigError(
            f"{name}: no order of its dimensions is stored, so there is none to take the first {dim} of; "
            "store one with: python prune.py"
        )
    if not 1 <= dim <= n_dims:
        raise ConfigError(f"{name} has {n_dims} dimensions; dim={dim} is not among 1 … {n_dims}")
    return np.asarray(order[:dim])

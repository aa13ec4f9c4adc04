"""A run of ours as teacher: a CLAP trained from scratch, or a student."""

import functools

import torch.nn.functional as F

from tinyclap.checkpoints.state import load_student
from tinyclap.config.kept_dims import kept_dims
from tinyclap.errors import CheckpointError
from tinyclap.models.student import AudioStudent
from tinyclap.teachers.base import TowerTeacher, class_embeddings


class CheckpointTeacher(TowerTeacher):
    """Any run of ours.

    Arguments
    ---------
    weights : str or os.PathLike. A run's folder, or a folder with ``config.json`` and ``model.safetensors``.
    text_weights : str or os.PathLike, optional. Its teacher's text tower or sentence encoder, if it has moved.
    dim : int, optional. Its `dim` most important dimensions alone, on both sides, of a folder that ``prune.py`` wrote.
    """

    weights_are_a_run = True

    def __init__(self, weights, text_weights=None, dim=None):
        super().__init__("checkpoint")
        self.weights, self.text_weights, self.dim, self.kept = weights, text_weights, dim, None

    def _load(self):
        self.model, self.folder_config = load_student(self.weights, self.dim)
        if not isinstance(self.tower, AudioStudent):
            name = type(self.model).__name__
            raise CheckpointError(f"{self.weights} holds a {name}, which embeds no clips for texts")
        self.kept = kept_dims(self.folder_config)
        self.sample_rate_hz, self.embed_dim = self.model.sample_rate_hz, self.model.embed_dim
        if not hasattr(self.model, "embed_text"):
            if not self.folder_config.get("text_side"):
                raise CheckpointError(f"{self.weights} has no text side; teach with a run that names its teacher")
            from tinyclap.teachers import make_text_side  # the registry imports this file

            text = self.text_embedder = make_text_side(self.folder_config["text_side"], self.text_weights)
            self.score_kind, self.default_templates = text.score_kind, text.default_templates

    def _decides(self):
        self._require_loaded()
        return {"weights_sha256": self.folder_config["weights_sha256"], **self._dim()}

    def _dim(self):
        return {} if self.dim is None else {"dim": self.dim}

    def embed_text(self, texts):
        """Embed N sentences: (N, D)."""
        rows = super().embed_text(texts)
        return rows if self.text_embedder is None else self._columns(rows)  # a Clap gives its kept dimensions itself

    def embed_classes(self, prompts):
        """One embedding a class: list of list of str, N × K → (N, D)."""
        self._require_loaded()
        if self.text_embedder is not None or self.kept is None:
            return self._columns(super().embed_classes(prompts))
        # A class's prompts are averaged in the whole space, as when dimensions are masked.
        whole = functools.partial(self.model.embed_text, whole=True)
        return self._columns(class_embeddings(whole, prompts, self.score_kind))

    def _columns(self, rows):
        """The kept columns of text embeddings (N, D) of the whole space, normalised again where scores are cosines."""
        if self.kept is None:
            return rows
        rows = rows[:, self.kept]
        return F.normalize(rows, dim=-1) if self.score_kind == "cosine" else rows

    def text_side(self):
        """The config of its text side."""
        self._require_loaded()
        if self.text_embedder is not None and self.kept is None:
            return self.folder_config["text_side"]
        return {"kind": "checkpoint", "weights": str(self.weights), **self._dim()}

"""A run of ours as teacher: a CLAP trained from scratch, or a student that teaches a smaller one."""

import torch

from tinyclap.checkpoints import load_student
from tinyclap.errors import CheckpointError
from tinyclap.teachers.base import FrozenTeacher
from tinyclap.teachers.precision import in_bf16


class CheckpointTeacher(FrozenTeacher):
    """Any run of ours.

    Arguments
    ---------
    weights : str or os.PathLike
        A run's folder (``results/…/1234``), or a folder with ``config.json`` and ``model.safetensors``.
    text_weights : str or os.PathLike, optional
        Where the weights of its teacher's text tower (in a tag space: its sentence encoder) are now, if they have
        moved since the run.
    """

    def __init__(self, weights, text_weights=None):
        super().__init__("checkpoint")
        self.weights, self.text_weights = weights, text_weights
        self._text = None

    def _load(self):
        self.model, self.folder_config = load_student(self.weights)
        self.sample_rate_hz, self.embed_dim = self.model.sample_rate_hz, self.model.embed_dim
        if not hasattr(self.model, "embed_text"):
            if "text_side" not in self.folder_config:
                raise CheckpointError(f"{self.weights} has no text side; teach with a run that names its teacher")
            from tinyclap.teachers import make_text_side  # the registry imports this file

            self._text = make_text_side(self.folder_config["text_side"], self.text_weights)
            self.score_kind, self.default_templates = self._text.score_kind, self._text.default_templates

    def _to_bf16(self):
        if hasattr(self.model, "embed_text"):
            self.model.audio = in_bf16(self.model.audio)
        else:
            self.model = in_bf16(self.model)

    def _decides(self):
        self._require_loaded()
        return {"weights_sha256": self.folder_config["weights_sha256"]}

    @torch.no_grad()
    def embed_audio(self, wavs, sample_rate_hz):
        """Clips of any length → (B, D); see ``AudioStudent.embed_audio``."""
        self._require_loaded()
        return self.model.embed_audio(wavs, sample_rate_hz)

    @torch.no_grad()
    def embed_text(self, texts):
        """Sentences → (N, D)."""
        self._require_loaded()
        return (self._text or self.model).embed_text(texts)

    def embed_classes(self, prompts):
        """One embedding a class: list of list of str, N × K → (N, D)."""
        self._require_loaded()
        return super().embed_classes(prompts) if self._text is None else self._text.embed_classes(prompts)

    def text_side(self):
        """What a student of this teacher writes into its own config, to be scored later."""
        self._require_loaded()
        if self._text is not None:
            return self.folder_config["text_side"]
        return {"kind": "checkpoint", "weights": str(self.weights)}

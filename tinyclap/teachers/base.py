"""The interface of every teacher: clips → embeddings, texts → embeddings, a score of the two; frozen.

A teacher has ``embed_audio(wavs, sample_rate_hz)`` → (B, D), ``embed_text(list of str)`` → (N, D), ``sample_rate_hz``,
``embed_dim``, and ``score_kind``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.teachers.precision import PRECISIONS, in_bf16
from tinyclap.text.prompts import TINYCLAP_TEMPLATE
from tinyclap.text.scores import SCORE_KINDS


def score(audio: Tensor, text: Tensor, kind: str = "cosine") -> Tensor:
    """Score each text for each clip: (B, D) and (N, D) → (B, N).

    ``"cosine"`` is in [−1, 1], ``"dot"`` the plain product, ``"sqrt_dot"`` that with the square roots of the audio
    side, for audio embeddings that are probabilities.
    """
    if kind not in SCORE_KINDS:
        raise ConfigError(f"score kind {kind!r} is unknown; choose one of {', '.join(SCORE_KINDS)}")
    if audio.shape[-1] != text.shape[-1]:
        raise ConfigError(f"audio embeddings have {audio.shape[-1]} dimensions, text embeddings {text.shape[-1]}")
    if kind == "cosine":
        audio, text = F.normalize(audio, dim=-1), F.normalize(text, dim=-1)
    if kind == "sqrt_dot":
        audio = audio.clamp(min=0).sqrt()
    return audio @ text.T


def class_embeddings(
    embed_text: Callable[[list[str]], Tensor], prompts: Sequence[Sequence[str]], kind: str = "cosine"
) -> Tensor:
    """One embedding a class (N, D) from its prompts: their mean, and for cosines the mean of their directions.

    `embed_text` maps K str → (K, D); `prompts` are N lists of str; `kind` is that of :func:`score`.
    """
    flat = embed_text([prompt for of_class in prompts for prompt in of_class])
    flat = F.normalize(flat, dim=-1) if kind == "cosine" else flat
    rows = torch.stack([part.mean(dim=0) for part in flat.split([len(of_class) for of_class in prompts])])
    return F.normalize(rows, dim=-1) if kind == "cosine" else rows


def fitting_options(
    teacher_class: type, what: str, more: dict[str, Any] | None, options: dict[str, Any], **given: Any
) -> dict[str, Any]:
    """Check a recipe's options against the arguments of its teacher's class: the dict that it takes.

    Arguments
    ---------
    teacher_class : type
    what : str. The teacher, for the message.
    more, options : dict or None, dict. `more` takes precedence; those that are None are left to the class' defaults.
    given : Options that are passed on in any case.
    """
    options = {name: value for name, value in {**options, **(more or {})}.items() if value is not None}
    options |= given
    try:
        inspect.signature(teacher_class).bind(**options)
    except TypeError as error:
        raise ConfigError(f"{what}: {error}; give it by the recipe's teacher_* keys") from error
    return options


class FrozenTeacher(nn.Module):
    """Base of the teachers: always in eval mode, never with gradients, weights loaded by one call.

    A subclass, of name `kind` in recipes, sets ``sample_rate_hz``, ``embed_dim``, ``score_kind`` and ``model`` at the
    latest in ``_load``, and implements ``_load``, ``_decides`` (its part of :meth:`identity`), ``text_side`` (the
    config for a student's ``config.json``) and, where `model` has no such methods, ``embed_audio`` and ``embed_text``.
    """

    model: Any
    score_kind = "cosine"
    default_templates = (TINYCLAP_TEMPLATE,)

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.is_loaded, self.precision = False, "fp32"
        super().train(False)

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode: a teacher's statistics and dropout never move."""
        return super().train(False)

    def load(self) -> Self:
        """Load the weights from disk, strictly; returns itself. Constructors read nothing."""
        if not self.is_loaded:
            self._load()
            self.is_loaded = True
            self.requires_grad_(False)
            self.train(False)
        return self

    def use_precision(self, precision: str) -> Self:
        """Choose the precision of the audio side, "fp32" or "bf16", which cannot be undone; returns itself.

        "bf16" folds the norms and computes the encoder in channels-last bfloat16: about 2.5 times as fast on CPUs with
        such instructions, at a cosine to fp32 above 0.999. Text stays in float32.
        """
        if precision not in PRECISIONS:
            raise ConfigError(f"precision {precision!r} is unknown; choose one of {', '.join(PRECISIONS)}")
        if precision == self.precision:
            return self
        if precision == "fp32":
            raise ConfigError(f"the {self.kind} teacher is in {self.precision} already; load another for fp32")
        self._require_loaded()
        self._to_bf16()
        self.precision = precision
        return self

    def _to_bf16(self):
        if not hasattr(getattr(self, "model", None), "audio"):
            raise ConfigError(f"the {self.kind} teacher runs in fp32 alone; leave its precision at fp32")
        self.model.audio = in_bf16(self.model.audio)

    def identity(self) -> dict[str, Any]:
        """What decides its outputs, JSON-able, weights and precision included; caches of other outputs are refused."""
        precision = {} if self.precision == "fp32" else {"precision": self.precision}
        return {"kind": self.kind, **self._decides(), **precision}

    def target_identity(self) -> dict[str, Any]:
        """What decides the outputs that a target cache keeps; :meth:`identity` unless a teacher overrides it."""
        return self.identity()

    def target_of(self, kept: Tensor) -> Tensor:
        """The target embeddings (B, D) of outputs that a target cache keeps; here they are the outputs."""
        return kept

    def _decides(self):
        raise ConfigError(f"the {self.kind} teacher cannot say what its outputs depend on, so they cannot be stored")

    def _require_loaded(self):
        if not self.is_loaded:
            raise CheckpointError(f"the {self.kind} teacher has no weights yet; call load() before it is used")

    @torch.no_grad()
    def embed_audio(self, wavs: Any, sample_rate_hz: float) -> Tensor:
        """Embed clips of any length, rate and channels: (B, D); see :func:`tinyclap.features.windows.as_waveforms`."""
        self._require_loaded()
        return self.model.embed_audio(wavs, sample_rate_hz)

    @torch.no_grad()
    def embed_text(self, texts: Sequence[str]) -> Tensor:
        """Embed N sentences: (N, D)."""
        self._require_loaded()
        return self.model.embed_text(list(texts))

    def embed_classes(self, prompts: Sequence[Sequence[str]]) -> Tensor:
        """One embedding a class: list of list of str, N × K → (N, D); see :func:`class_embeddings`."""
        return class_embeddings(self.embed_text, prompts, self.score_kind)

    def score(self, audio: Tensor, text: Tensor) -> Tensor:
        """Score each text for each clip: (B, D) and (N, D) → (B, N); see :func:`score`."""
        return score(audio, text, self.score_kind)

"""The interface of every teacher: clips → targets (embeddings, maps, tags, captions), texts → embeddings, a score."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.features.windows import clips_at, embed_windows
from tinyclap.teachers.precision import PRECISIONS, in_bf16
from tinyclap.text.prompts import TINYCLAP_TEMPLATE
from tinyclap.text.scores import SCORE_KINDS

_WINDOWS = 32  # of long clips, in one forward pass


def score(audio: Tensor, text: Tensor, kind: str = "cosine") -> Tensor:
    """Score each text for each clip: (B, D) and (N, D) → (B, N).

    ``"cosine"`` is in [−1, 1]; ``"dot"`` the plain product; ``"sqrt_dot"`` that with square roots of the audio side.
    """
    if kind not in SCORE_KINDS:
        raise ConfigError(f"score kind {kind!r} is unknown; choose one of {', '.join(SCORE_KINDS)}")
    if audio.shape[-1] != text.shape[-1]:
        raise ConfigError(f"audio embeddings have {audio.shape[-1]} dimensions, text embeddings {text.shape[-1]}")
    if kind == "cosine":
        return F.normalize(audio, dim=-1) @ F.normalize(text, dim=-1).T
    return (audio.clamp(min=0).sqrt() if kind == "sqrt_dot" else audio) @ text.T


def class_embeddings(
    embed_text: Callable[[list[str]], Tensor], prompts: Sequence[Sequence[str]], kind: str = "cosine"
) -> Tensor:
    """One embedding a class (N, D) from its prompts, N lists of str: their mean, for cosines that of their directions.

    `embed_text` maps K str → (K, D); `kind` is that of :func:`score`.
    """
    normalise = partial(F.normalize, dim=-1) if kind == "cosine" else nn.Identity()
    rows = normalise(embed_text([prompt for of_class in prompts for prompt in of_class]))
    parts = rows.split([len(of_class) for of_class in prompts])
    return normalise(torch.stack([part.mean(dim=0) for part in parts]))


class FrozenTeacher(nn.Module):
    """Base of the teachers: always in eval mode, never with gradients, weights loaded by one call.

    A subclass, of name `kind` in recipes, sets ``sample_rate_hz``, ``embed_dim``, ``score_kind`` and ``model`` at the
    latest in ``_load``, and implements ``_load``, ``_decides`` (its part of :meth:`identity`) and, where `model` has no
    such methods, ``embed_audio`` and ``embed_text``. One with more than clip embeddings names its ``columns`` and
    implements ``_targets`` instead of ``embed_audio``. One whose students are scored by texts has a ``text_side``, and
    the attribute ``text_embedder`` where another teacher or text side embeds its texts.
    """

    model: Any
    columns: Sequence[str] = ("clip",)
    weights_are_a_run = False  # a folder of ours, which can be told from a hub name before anything is loaded
    score_kind = "cosine"
    default_templates = (TINYCLAP_TEMPLATE,)

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.is_loaded, self.precision, self.text_embedder = False, "fp32", None
        super().train(False)

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode: a teacher's statistics and dropout never move."""
        return super().train(False)

    def load(self) -> Self:
        """Load the weights from disk, strictly; returns itself. Constructors read nothing."""
        if not self.is_loaded:
            self._require_weights()
            self._load()
            self.is_loaded = True
            self.requires_grad_(False)
            self.train(False)
        return self

    def use_precision(self, precision: str) -> Self:
        """Choose the precision of the audio side, "fp32" or "bf16" (:mod:`.precision`), for good; returns itself."""
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
        raise ConfigError(f"the {self.kind} teacher runs in fp32 alone; leave its precision at fp32")

    def identity(self) -> dict[str, Any]:
        """What decides its outputs, JSON-able, weights and precision included; caches of other outputs are refused."""
        self._require_weights()
        precision = {} if self.precision == "fp32" else {"precision": self.precision}
        return {"kind": self.kind, **self._decides(), **precision}

    def _decides(self):
        raise ConfigError(f"the {self.kind} teacher cannot say what its outputs depend on, so they cannot be stored")

    def _require_weights(self):
        if getattr(self, "weights", self) is None:
            raise CheckpointError(f"the {self.kind} teacher has no weights; give their path as teacher_weights")

    def _require_loaded(self):
        if not self.is_loaded:
            raise CheckpointError(f"the {self.kind} teacher has no weights yet; call load() before it is used")

    @torch.no_grad()
    def targets(self, wavs: Any, sample_rate_hz: float, columns: Sequence[str] = ("clip",)) -> dict[str, Any]:
        """Teacher targets of B clips by one forward pass: column → value, for names among the attribute ``columns``.

        ``clip`` (B, D) float32, as of :meth:`embed_audio`; ``frames`` (B, F', C) and ``middle`` (B, C", F", M"), maps
        of clips of one length and one window; ``tags`` (B, K), probabilities; ``caption``, list of B str;
        ``token_choices``, :class:`tinyclap.decoding.beam_search.WordChoices`. `wavs` is (B, T), or a list of (T_i,).
        """
        self._require_loaded()
        if unknown := [name for name in columns if name not in self.columns]:
            raise ConfigError(f"the {self.kind} teacher gives {', '.join(self.columns)}; not {', '.join(unknown)}")
        found = self._targets(wavs, sample_rate_hz, set(columns))
        return {name: found[name] for name in columns}

    def _targets(self, wavs, sample_rate_hz, columns):
        """Values of these columns at least."""
        return {"clip": self.embed_audio(wavs, sample_rate_hz).float()}

    @torch.no_grad()
    def embed_audio(self, wavs: Any, sample_rate_hz: float) -> Tensor:
        """Embed clips of any length, rate and channels: (B, D); see :func:`tinyclap.features.windows.as_waveforms`."""
        if type(self)._targets is not FrozenTeacher._targets:
            return self.targets(wavs, sample_rate_hz)["clip"]
        self._require_loaded()
        return self.model.embed_audio(wavs, sample_rate_hz)

    def caption(self, wavs: Any, sample_rate_hz: float) -> list[str]:
        """Caption B clips of any length, rate and channels: list of B str."""
        return self.targets(wavs, sample_rate_hz, ["caption"])["caption"]

    @torch.no_grad()
    def embed_text(self, texts: Sequence[str]) -> Tensor:
        """Embed N sentences: (N, D)."""
        self._require_loaded()
        side = self.model if self.text_embedder is None else self.text_embedder
        if not hasattr(side, "embed_text"):
            raise ConfigError(f"the {self.kind} teacher embeds no text; choose a CLAP, a tagger or a student of theirs")
        return side.embed_text(list(texts))

    def embed_classes(self, prompts: Sequence[Sequence[str]]) -> Tensor:
        """One embedding a class: list of list of str, N × K → (N, D); see :func:`class_embeddings`."""
        if self.text_embedder is not None:
            return self.text_embedder.embed_classes(prompts)
        return class_embeddings(self.embed_text, prompts, self.score_kind)

    def score(self, audio: Tensor, text: Tensor) -> Tensor:
        """Score each text for each clip: (B, D) and (N, D) → (B, N); see :func:`score`."""
        return score(audio, text, self.score_kind)

    def text_side(self) -> dict[str, Any] | None:
        """The config by which :func:`tinyclap.teachers.make_text_side` rebuilds its text side; None without one."""
        return None if self.text_embedder is None else self.text_embedder.text_side()


class TowerTeacher(FrozenTeacher):
    """Base of the teachers with an audio tower of ours, a :class:`tinyclap.models.student.AudioStudent`."""

    @property
    def columns(self) -> Sequence[str]:  # type: ignore[override]  # an attribute of others
        """Names of its targets; before it is loaded, those that some encoder gives."""
        has_middle = not self.is_loaded or hasattr(self.tower.encoder, "n_middle")
        return ("clip", "frames", "middle") if has_middle else ("clip", "frames")

    @property
    def tower(self) -> Any:
        """The audio tower."""
        return getattr(self.model, "audio", self.model)

    def _targets(self, wavs, sample_rate_hz, columns):
        tower, maps = self.tower, {name: [] for name in ("frames", "middle") if name in columns}
        device = next(tower.parameters()).device
        clips = clips_at(wavs, sample_rate_hz, self.sample_rate_hz, device, tower.resampler)
        policy = getattr(self, "policy", tower.policy)
        valid = self._valid_part(clips, policy) if maps else None

        def forward(windows):
            encoding = tower(windows)
            for name, parts in maps.items():  # without the frames that a tiled or padded clip does not fill
                values, axis = getattr(encoding, name).float(), {"frames": 1, "middle": 2}[name]
                parts.append(values.narrow(axis, 0, math.ceil(valid * values.shape[axis])))
            return self._rows(encoding)

        batch_size = max(_WINDOWS, len(clips))  # a batch of clips of one window takes one forward pass
        rows = embed_windows(forward, clips, self.sample_rate_hz, policy, batch_size, self._is_normalized())
        return {"clip": rows.float(), **{name: torch.cat(parts) for name, parts in maps.items()}}

    def _rows(self, encoding):
        """What is averaged over the windows of a clip."""
        return encoding.clip

    def _is_normalized(self):
        return self.tower.output == "none"

    def _valid_part(self, clips, policy):
        """Which part of a window the clips fill, in (0, 1]."""
        need, rate = f"frames and middle maps of the {self.kind} teacher need clips of one length", self.sample_rate_hz
        if not isinstance(clips, Tensor):
            lengths = sorted(len(clip) / rate for clip in clips)
            raise ConfigError(f"{need} and one window; these have {lengths[0]:g} to {lengths[-1]:g} s")
        n_samples = clips.shape[1]
        if len(policy.starts(n_samples, rate)) > 1:
            raise ConfigError(f"{need} and one window, {policy.window_s:g} s; these have {n_samples / rate:g} s")
        return min(1.0, n_samples / policy.length(n_samples, rate))

    def _to_bf16(self):
        if self.model is self.tower:
            self.model = in_bf16(self.model)
        else:
            self.model.audio = in_bf16(self.model.audio)

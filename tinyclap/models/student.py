"""The audio student (front end, encoder, projection head), and a CLAP of an audio and a text tower.

Source: Paissan & Farella, "tinyCLAP", Interspeech 2024 (student); Radford et al., "Learning Transferable Visual Models
From Natural Language Supervision", ICML 2021 (two towers with a learnable temperature).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tinyclap.config.registry import configurable
from tinyclap.errors import ConfigError
from tinyclap.features.resample import RESAMPLERS
from tinyclap.features.windows import WindowPolicy, clips_at, embed_windows
from tinyclap.models.encoding import check_attributes, evaluating
from tinyclap.models.folding import compose_head, fold_norms
from tinyclap.models.projection import ClapProjection
from tinyclap.models.pruned_head import chosen_dims

if TYPE_CHECKING:
    from tinyclap.features.front_ends import LogMel
    from tinyclap.models.encoding import AudioEncoding

FIVE_SECONDS_TILED = {"window_s": 5.0, "short": "tile"}


@configurable
class AudioStudent(nn.Module):
    """Waveform to shared embedding: log-mel front end, encoder, projection.

    Arguments
    ---------
    features : tinyclap.features.front_ends.LogMel. It fixes ``sample_rate_hz``.
    encoder : nn.Module. Log-mel (B, F, M) to :class:`AudioEncoding`, with attribute ``embed_dim``.
    projection : nn.Module or None. (B, C) to (B, D), with ``d_in`` and ``d_out``; None: the encoder's clip vector.
    window : dict. Arguments of :class:`WindowPolicy`, for `embed_audio`.
    resampler : {"sinc", "soxr"}. In `embed_audio`.
    output : {"none", "sigmoid"}. "sigmoid" where the student gives probabilities (a tag space).
    freeze_encoder : bool. The encoder gets no gradient and stays in eval mode.
    reference_frozen_drift : bool. A frozen encoder follows train(), so its dropout and norms move, as officially.
    folded : bool. Build the form that :meth:`fold` makes, for a loader to fill.

    Example
    -------
    >>> from tinyclap.features.front_ends import log_mel
    >>> from tinyclap.models.phinet import PhiNet
    >>> from tinyclap.models.projection import LinearHead
    >>> encoder = PhiNet(alpha=0.5, embed_width=None)
    >>> student = AudioStudent(log_mel("clap2022"), encoder, LinearHead(encoder.embed_dim, 64))
    >>> student.eval().embed_audio([torch.zeros(800), torch.zeros(2, 60000)], 8000).shape
    torch.Size([2, 64])
    """

    def __init__(
        self,
        features: LogMel,
        encoder: nn.Module,
        projection: nn.Module | None = None,
        window: dict[str, Any] = FIVE_SECONDS_TILED,
        resampler: str = "sinc",
        output: str = "none",
        freeze_encoder: bool = False,
        reference_frozen_drift: bool = False,
        folded: bool = False,
    ) -> None:
        super().__init__()
        if output not in ("none", "sigmoid"):
            raise ConfigError(f"output {output!r} is neither 'none' nor 'sigmoid'")
        if resampler not in RESAMPLERS:
            raise ConfigError(f"resampler {resampler!r} is none of {', '.join(RESAMPLERS)}")
        check_attributes(encoder, features.n_mels)
        if projection is not None:
            _check_head(projection, encoder.embed_dim)
        self.features, self.encoder, self.projection = features, encoder, projection
        self.policy = WindowPolicy(**window)
        self.resampler, self.output = resampler, output
        self.freeze_encoder, self.reference_frozen_drift = freeze_encoder, reference_frozen_drift
        self.sample_rate_hz = features.sample_rate_hz
        self.embed_dim = encoder.embed_dim if projection is None else projection.d_out
        self.folded = False
        if folded:
            self._fold()
        if freeze_encoder:
            encoder.requires_grad_(False)
            self.train(self.training)

    def fold(self) -> AudioStudent:
        """A copy for inference with fewer parameters and the same outputs; see :mod:`tinyclap.models.folding`.

        The headline student has 2,035,187 instead of 4,434,547. Where its last convolution was composed with the head,
        ``frames`` are the last block's. The config says ``folded``, so a saved folder is loaded in this form.
        """
        if self.folded:
            return self
        student = copy.deepcopy(self)
        student._fold()
        student.__dict__["_arguments"] = {**student.__dict__["_arguments"], "folded": True}
        return student

    def _fold(self):
        """Take the folded form, in place."""
        fold_norms(self.encoder)
        compose_head(self.encoder, self.projection)
        self.folded = True
        self.requires_grad_(False).eval()

    def keep_dims(
        self,
        indices: Sequence[int],
        moments: Any = None,
        n_statistic_rows: int | None = None,
        hidden_fraction: float | None = None,
    ) -> AudioStudent:
        """A copy with some of the embedding's dimensions, without the weights that only the others need.

        Arguments
        ---------
        indices : sequence of int. Dimensions to keep, in the order wanted.
        moments, n_statistic_rows, hidden_fraction
            Of CLAP's head, see :func:`tinyclap.models.pruned_head.pruned_clap_head`; other heads are pruned exactly.
        """
        if self.projection is None:
            raise ConfigError(
                f"this student has no projection: its embedding is the encoder's own {self.embed_dim} features, which "
                "no rows can be taken from; distil one with a head (head: linear), or mask the embedding"
            )
        if isinstance(self.projection, ClapProjection):
            head = self.projection.keep_dims(indices, moments, n_statistic_rows, hidden_fraction)
        elif hidden_fraction is not None:
            raise ConfigError(f"hidden_fraction is for CLAP's whole head, not for {type(self.projection).__name__}")
        elif not hasattr(self.projection, "keep_dims"):
            name = type(self.projection).__name__
            raise ConfigError(f"the head {name} has no keep_dims(indices), a copy of it with those outputs; write it")
        else:
            head = self.projection.keep_dims(indices)
        head.d_in = self.projection.d_in  # of a folded one: not what its config says
        student = copy.deepcopy(self, {id(self.projection): head})
        student.embed_dim = head.d_out
        return student

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all parts; a frozen encoder stays in eval mode, and so does a folded student."""
        super().train(mode and not getattr(self, "folded", False))
        if self.freeze_encoder and not self.reference_frozen_drift:
            self.encoder.eval()
        return self

    def forward(self, wavs: Tensor | None = None, log_mel: Tensor | None = None) -> AudioEncoding:
        """Clips of one length → :class:`AudioEncoding`, with ``clip`` (B, D) in the shared space.

        Not normalised; probabilities where ``output`` is "sigmoid". `wavs` (B, T) are at ``sample_rate_hz``, in
        [−1, 1]; `log_mel` (B, F, M) is given instead where it is computed already.
        """
        log_mel = self.features(wavs) if log_mel is None else log_mel
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.freeze_encoder):
            encoding = self.encoder(log_mel)
        clip = encoding.clip if self.projection is None else self.projection(encoding.clip)
        return encoding._replace(clip=clip.sigmoid() if self.output == "sigmoid" else clip)

    def embed_audio(self, wavs: Any, sample_rate_hz: float, batch_size: int = 32) -> Tensor:
        """Clips of any length → (B, D), L2-normalised, or mean probabilities where ``output`` is "sigmoid".

        `wavs` as for :func:`tinyclap.features.windows.as_waveforms`; `batch_size` windows go through in one pass.
        """
        return self.embed_windows(
            lambda windows: self(windows).clip, wavs, sample_rate_hz, batch_size, normalize=self.output == "none"
        )

    @torch.no_grad()
    def embed_windows(
        self,
        forward: Callable[[Tensor], Tensor],
        wavs: Any,
        sample_rate_hz: float,
        batch_size: int = 32,
        normalize: bool = False,
    ) -> Tensor:
        """Mean over the windows of each clip of any function, in eval mode: (B, D).

        Arguments
        ---------
        forward : callable. Windows (n, T) at the student's ``sample_rate_hz`` → (n, D).
        wavs, sample_rate_hz, batch_size. As for `embed_audio`.
        normalize : bool. L2-normalise before and after averaging.
        """
        device = next(self.parameters()).device
        clips = clips_at(wavs, sample_rate_hz, self.sample_rate_hz, device, self.resampler)
        with evaluating(self):
            return embed_windows(forward, clips, self.sample_rate_hz, self.policy, batch_size, normalize)


def _check_head(head, n_features):
    """Check the widths of a projection head (ConfigError)."""
    name = type(head).__name__
    if missing := [each for each in ("d_in", "d_out") if not isinstance(getattr(head, each, None), int)]:
        raise ConfigError(f"head {name}: has no {', '.join(missing)}; set its widths in its constructor")
    if head.d_in != n_features:
        raise ConfigError(f"the encoder gives {n_features} features, the head {name} wants {head.d_in}")


class ClapOutput(NamedTuple):
    """`audio` and `text` embeddings (B, D) of pairs, not normalised, and the inverse temperature `scale` ()."""

    audio: torch.Tensor
    text: torch.Tensor
    scale: torch.Tensor


@configurable
class Clap(nn.Module):
    """Audio and text tower with a shared space, for contrastive training from scratch.

    Arguments
    ---------
    audio : AudioStudent
    text : nn.Module. ``encode(list[str])`` → (ids, mask); forward (ids, mask) → (N, D); attribute ``embed_dim``.
    logit_scale_init : float. Logarithm of the first inverse temperature.
    text_dims : list of int, optional. Dimensions of the text tower that a pruned audio tower has.

    Example
    -------
    >>> from tinyclap.features.front_ends import log_mel
    >>> from tinyclap.models.phinet import PhiNet
    >>> from tinyclap.models.text import WordTextTower
    >>> audio = AudioStudent(log_mel("clap2022"), PhiNet(alpha=0.5, embed_width=64))
    >>> clap = Clap(audio, WordTextTower(["a", "dog", "barks"], embed_dim=64, width=32))
    >>> clap.embed_text(["A dog barks.", "rain"]).shape
    torch.Size([2, 64])
    """

    max_scale = 100.0

    def __init__(
        self,
        audio: AudioStudent,
        text: Any,
        logit_scale_init: float = math.log(1 / 0.07),
        text_dims: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.text_dims = None if text_dims is None else chosen_dims(text_dims, text.embed_dim)
        n_text = text.embed_dim if text_dims is None else len(text_dims)
        if audio.embed_dim != n_text:
            raise ConfigError(f"the audio tower ends in {audio.embed_dim} dimensions, the text tower in {n_text}")
        self.audio, self.text = audio, text
        self.logit_scale = nn.Parameter(torch.tensor(float(logit_scale_init)))
        self.sample_rate_hz, self.embed_dim = audio.sample_rate_hz, audio.embed_dim

    def forward(self, wavs: torch.Tensor, texts: Sequence[str]) -> ClapOutput:
        """Pairs, `wavs` (B, T) at ``sample_rate_hz`` and B strings → :class:`ClapOutput`."""
        return ClapOutput(self.audio(wavs).clip, self.encode_text(texts), self.scale)

    @property
    def scale(self) -> Tensor:
        """exp(logit_scale), at most 100, with gradient."""
        return self.logit_scale.exp().clamp(max=self.max_scale)

    def encode_text(self, texts: Sequence[str], whole: bool = False) -> Tensor:
        """N strings → (N, D), with gradient, not normalised; `whole`: all dimensions of the text tower."""
        ids, mask = self.text.encode(list(texts))
        device = self.logit_scale.device
        rows = self.text(ids.to(device), mask.to(device))
        return rows if whole or self.text_dims is None else rows[:, self.text_dims]

    def keep_dims(
        self,
        indices: Sequence[int],
        moments: Any = None,
        n_statistic_rows: int | None = None,
        hidden_fraction: float | None = None,
    ) -> Clap:
        """A copy with some of the dimensions.

        Arguments
        ---------
        indices, moments, n_statistic_rows, hidden_fraction. See :meth:`AudioStudent.keep_dims`.
        """
        audio = self.audio.keep_dims(indices, moments, n_statistic_rows, hidden_fraction)
        before = range(self.text.embed_dim) if self.text_dims is None else self.text_dims
        text_dims = [before[index] for index in chosen_dims(indices, self.embed_dim)]
        clap = Clap(audio, copy.deepcopy(self.text), text_dims=text_dims)
        clap.logit_scale = copy.deepcopy(self.logit_scale)
        return clap.train(self.training)

    def embed_text(self, texts: Sequence[str], whole: bool = False) -> Tensor:
        """N strings → L2-normalised (N, D), in eval mode, without gradient; `whole` as in encode_text."""
        with evaluating(self), torch.no_grad():
            return F.normalize(self.encode_text(texts, whole), dim=-1)

    def embed_audio(self, wavs: Any, sample_rate_hz: float, batch_size: int = 32) -> Tensor:
        """Clips of any length → L2-normalised (B, D); see :meth:`AudioStudent.embed_audio`."""
        return self.audio.embed_audio(wavs, sample_rate_hz, batch_size)

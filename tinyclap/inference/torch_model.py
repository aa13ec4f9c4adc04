"""The backend of :class:`SoundModel` for runs and saved models: torch computes, numpy goes in and out."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tinyclap.audio.batch import embed_together
from tinyclap.audio.clips import as_clips, as_sources
from tinyclap.checkpoints.state import load_student
from tinyclap.config.kept_dims import at_dim, tags_of
from tinyclap.config.network import local_files_only
from tinyclap.errors import ConfigError
from tinyclap.files import model_folder
from tinyclap.models.student import AudioStudent, Clap
from tinyclap.teachers import make_teacher

if TYPE_CHECKING:
    from tinyclap.audio.clips import Audio


def open_checkpoint(
    folder: str | os.PathLike[str], dim: int | None = None, is_local: bool = False
) -> CheckpointModel | CheckpointCaptioner:
    """Open the folder of a run or of a saved model; with `is_local`, text sides on the hub are read from its cache."""
    network, saved = load_student(folder)
    if isinstance(network, (AudioStudent, Clap)):
        return CheckpointModel(folder, *at_dim(network, saved, dim, model_folder(folder)), dim, is_local)
    if dim is not None:
        raise ConfigError(f"{folder}: dim belongs to models with a space that texts share, not to captioners")
    return CheckpointCaptioner(folder, network, saved)


class CheckpointModel:
    """A student or CLAP as :class:`tinyclap.runtime.audio_model.AudioModel`; see :func:`open_checkpoint`.

    Arguments
    ---------
    folder : str or os.PathLike. Where it lies.
    network, saved : The module, and the config of its folder.
    dim, is_local : As of :func:`open_checkpoint`.
    """

    usual_workers = 1  # torch gives every pass all cores

    def __init__(
        self, folder: str | os.PathLike[str], network: Any, saved: dict[str, Any], dim: int | None, is_local: bool
    ) -> None:
        self.folder, self.network, self._dim, self._is_local = Path(folder), network, dim, is_local
        audio = self.network if isinstance(self.network, AudioStudent) else self.network.audio
        self.audio, self.sample_rate_hz, self.embed_dim = audio, audio.sample_rate_hz, audio.embed_dim
        side, self.policy, self.tags = saved.get("text_side", {}), audio.policy, tags_of(saved)
        self.labels: list[str] = []
        self.config = {
            "kind": "audio_encoder",
            "score": "sqrt_dot" if side.get("kind") == "tag_space" else "cosine",
            "resampler": audio.resampler,
            "window": audio.policy.config,
            "saved": saved,
        }
        self._has_text = bool(side) or isinstance(self.network, Clap)

    @functools.cached_property
    def text(self) -> _NumpyText | None:
        """The text side, or None; it may read a text tower, so it is opened when it is first used."""
        if not self._has_text:
            return None
        try:
            with local_files_only(self._is_local):
                teacher = make_teacher("checkpoint", weights=self.folder, dim=self._dim).load()
        except ImportError as error:
            raise _lacks_library(self.folder, error) from error
        return _NumpyText(teacher, self._is_local)

    @torch.inference_mode()
    def embed_many(self, audio: Audio, sample_rate_hz: int | None = None, progress: bool | None = None) -> np.ndarray:
        """Embed clips: (B, D), float32; see :meth:`tinyclap.inference.sound_model.SoundModel.embed`."""
        sources = as_sources(audio)
        if len(sources) != 1:
            return embed_together(self, sources, sample_rate_hz, progress)
        clips = as_clips(sources, self.sample_rate_hz, self.config["resampler"], sample_rate_hz)
        return self.audio.embed_audio(clips, self.sample_rate_hz).float().numpy()

    @torch.inference_mode()
    def embed_windows(self, windows: np.ndarray) -> np.ndarray:
        """Embed windows (n, T) at ``sample_rate_hz`` without cutting or padding them: (n, D), float32."""
        rows = self.audio(torch.from_numpy(windows)).clip
        if self.audio.output == "none":
            rows = torch.nn.functional.normalize(rows, dim=-1)
        return rows.float().numpy()


class CheckpointCaptioner:
    """A captioner in torch: the `network` of a `folder`, whose config is `saved`."""

    def __init__(self, folder: str | os.PathLike[str], network: Any, saved: dict[str, Any]) -> None:
        self.folder, self.network = Path(folder), network
        self.sample_rate_hz, self.embed_dim = self.network.sample_rate_hz, getattr(self.network, "embed_dim", 0)
        self.config = {"kind": "captioner", "saved": saved}

    def caption(self, audio: Audio, sample_rate_hz: int | None = None, **options: Any) -> list[str]:
        """Describe clips: list of str."""
        clips = as_clips(audio, self.sample_rate_hz, getattr(self.network, "resampler", "sinc"), sample_rate_hz)
        return self.network.caption(clips, self.sample_rate_hz, **options)


class _NumpyText:
    """A teacher's text side with numpy arrays coming out; sentence encoders are read at the first call."""

    def __init__(self, teacher: Any, is_local: bool = False) -> None:
        self._teacher, self._is_local = teacher, is_local
        self.default_templates, self.score_kind = tuple(teacher.default_templates), teacher.score_kind

    @functools.cached_property
    def identity(self) -> dict[str, str]:
        """``name`` and ``sha256`` of the text tower's weights; empty where they cannot be told."""
        from tinyclap.teachers.text_towers import text_identity

        try:
            with local_files_only(self._is_local):
                return text_identity(self._teacher)
        except ConfigError:
            return {}

    @functools.cached_property
    def tokenizer(self) -> Any:
        """The text tower's tokenizer as the checks of labels take it; None where it, or onnx, is not there."""
        try:
            from tinyclap.teachers.text_towers import text_tokenizer

            with local_files_only(self._is_local):
                return text_tokenizer(self._teacher)
        except ImportError:
            return None

    @torch.inference_mode()
    def embed_classes(self, prompts: list[list[str]]) -> np.ndarray:
        """One embedding a class: list of list of str, N × K → (N, D), float32."""
        try:
            with local_files_only(self._is_local):
                return self._teacher.embed_classes(prompts).numpy().astype(np.float32)
        except ImportError as error:
            raise _lacks_library("the text side", error) from error


def _lacks_library(what: object, error: ImportError) -> ConfigError:
    return ConfigError(f"{what}: a library that it needs is missing ({error}); run: pip install 'tinyclap[train]'")

"""A zero-shot classifier with the calls of SpeechBrain's ``EncoderClassifier``: torch tensors go in and come out.

    classifier = ZeroShotEncoderClassifier.from_hparams("tinyclap-phinet-m", labels=["dog", "rain", "siren"])
    out_prob, score, index, text_lab = classifier.classify_file("dog.wav")

SpeechBrain is not imported and no YAML is read: a model is a folder of JSON and weights, and nothing in it executes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tinyclap.audio.clips import as_clips
from tinyclap.errors import AudioError, ConfigError
from tinyclap.inference.pretrained import from_pretrained

if TYPE_CHECKING:
    from tinyclap.inference.sound_model import SoundModel
    from tinyclap.text.bank import LabelBank

    Labels = str | Iterable[str] | LabelBank
    Classified = tuple[torch.Tensor, torch.Tensor, torch.Tensor, list[str]]

# What SpeechBrain users override in a YAML, here options of from_pretrained and of the constructor.
OVERRIDES = ("labels", "template", "dim", "engine", "precision", "n_threads", "revision", "local_files_only")


class ZeroShotEncoderClassifier(torch.nn.Module):
    """A model behind ``encode_batch``, ``classify_batch`` and ``classify_file``.

    Arguments
    ---------
    model : tinyclap.SoundModel
    labels : sequence of str, tinyclap.text.bank.LabelBank or None. None takes the model's own labels.
    template : str, list of str or None. As in :meth:`tinyclap.SoundModel.label_vectors`.

    Attributes
    ----------
    sample_rate_hz : int. Of the tensors for ``encode_batch`` and ``classify_batch``; files have any rate.
    labels : list of str. In the order of the columns.
    """

    def __init__(
        self, model: SoundModel, labels: Labels | None = None, template: str | list[str] | None = None
    ) -> None:
        super().__init__()
        if model.kind == "captioner":
            raise ConfigError(f"{model.name} is a captioner and classifies nothing; open an encoder")
        self.model, self.sample_rate_hz = model, model.sample_rate_hz
        self.labels: list[str] = []
        self._vectors: np.ndarray | None = None
        if labels is not None or model.labels:
            self.labels, self._vectors = model.label_vectors(labels, template)

    @classmethod
    def from_hparams(
        cls,
        source: str | os.PathLike[str],
        savedir: str | os.PathLike[str] | None = None,
        run_opts: dict[str, Any] | None = None,
        overrides: dict[str, Any] | None = None,
        hparams_file: None = None,
        **options: Any,
    ) -> ZeroShotEncoderClassifier:
        """Open a model the way SpeechBrain does.

        Arguments
        ---------
        source : str or os.PathLike. As in :func:`tinyclap.from_pretrained`.
        savedir : str or os.PathLike, optional. Where downloads from the hub are kept; None takes the hub's own cache.
        run_opts : dict, optional. ``{"device": "cpu"}`` or nothing: exported models run on the CPU.
        overrides, options : dict. Any of :data:`OVERRIDES`.
        hparams_file : None. Refused: there is no YAML to execute.
        """
        chosen = {**(overrides or {}), **options}
        unknown = sorted(set(chosen) - set(OVERRIDES))
        if unknown:
            raise ConfigError(f"from_hparams does not know {', '.join(unknown)}; choose among {', '.join(OVERRIDES)}")
        if hparams_file is not None:
            raise ConfigError(f"hparams_file={hparams_file!r}: no YAML is executed here; leave it out")
        device = str((run_opts or {}).get("device", "cpu"))
        if device != "cpu":
            raise ConfigError(f"run_opts asks for {device}: models run on the CPU here; leave run_opts out")
        labels, template = chosen.pop("labels", None), chosen.pop("template", None)
        return cls(from_pretrained(source, cache_dir=savedir, **chosen), labels, template)

    def load_audio(self, path: str | os.PathLike[str]) -> torch.Tensor:
        """Read a recording of any format, rate and number of channels: (T,) at ``sample_rate_hz``."""
        resampler = self.model.config.get("resampler", "sinc")
        return torch.from_numpy(np.ascontiguousarray(as_clips(path, self.sample_rate_hz, resampler)[0]))

    def encode_batch(
        self, wavs: torch.Tensor, wav_lens: torch.Tensor | None = None, normalize: bool = False
    ) -> torch.Tensor:
        """Embed a padded batch: (B, 1, D), float32, on the device of `wavs`; the middle axis is SpeechBrain's.

        Arguments
        ---------
        wavs : torch.Tensor, shape (B, T), (T,) or (B, T, channels). At ``sample_rate_hz``, in [-1, 1].
        wav_lens : torch.Tensor, shape (B,), optional. Lengths relative to T, in (0, 1]; what is beyond is ignored.
        normalize : bool. L2-normalise rows, also of models that do not.
        """
        wavs = torch.as_tensor(wavs)
        rows = torch.from_numpy(self.model.embed(_unpadded(wavs, wav_lens), self.sample_rate_hz)).to(wavs.device)
        return (torch.nn.functional.normalize(rows, dim=-1) if normalize else rows)[:, None]

    def classify_batch(self, wavs: torch.Tensor, wav_lens: torch.Tensor | None = None) -> Classified:
        """Zero-shot classification of a padded batch, as in `encode_batch`.

        Returns
        -------
        out_prob : torch.Tensor, shape (B, N). Log-probabilities of the labels, or scores where no temperature is.
        score : torch.Tensor, shape (B,). The maximum of each row.
        index : torch.Tensor, shape (B,), int64. Its place in ``labels``.
        text_lab : list of str, B of them
        """
        return self._classified(self.encode_batch(wavs, wav_lens).squeeze(1))

    def classify_file(self, path: str | os.PathLike[str]) -> Classified:
        """Zero-shot classification of one recording: as `classify_batch`, with B = 1."""
        return self._classified(torch.from_numpy(self.model.embed(path)))

    def forward(self, wavs: torch.Tensor, wav_lens: torch.Tensor | None = None) -> Classified:
        """As `classify_batch`."""
        return self.classify_batch(wavs, wav_lens)

    def _classified(self, rows: torch.Tensor) -> Classified:
        if self._vectors is None:
            raise ConfigError(f"{self.model.name} has no labels of its own; give labels=['dog', 'rain', …]")
        scores = self.model.score_rows(rows.cpu().numpy(), self._vectors)
        if self.model.gives_probabilities():
            with np.errstate(divide="ignore"):
                scores = np.log(self.model.probabilities(scores))
        out_prob = torch.from_numpy(np.asarray(scores, np.float32)).to(rows.device)
        score, index = out_prob.max(dim=-1)
        return out_prob, score, index, [self.labels[place] for place in index.tolist()]


def _unpadded(wavs: torch.Tensor, wav_lens: torch.Tensor | None) -> list[np.ndarray]:
    """The clips of a padded batch, each without its padding."""
    wavs = wavs.detach().cpu().float()
    wavs = wavs[None] if wavs.ndim == 1 else wavs
    if wavs.ndim not in (2, 3) or 0 in wavs.shape:
        shape = tuple(wavs.shape)
        raise AudioError("the batch", f"has shape {shape}; give (batch, samples) or (batch, samples, channels)")
    wavs = wavs.mean(-1) if wavs.ndim == 3 else wavs
    if wav_lens is None:
        return list(wavs.numpy())
    lengths = torch.as_tensor(wav_lens).detach().cpu().double().reshape(-1)
    if len(lengths) != len(wavs) or not bool(((lengths > 0) & (lengths <= 1 + 1e-6)).all()):
        raise AudioError("the batch", f"has {len(wavs)} clips; wav_lens is each one's part of the longest, in (0, 1]")
    ends = (lengths * wavs.shape[1]).round().long().clamp(1, wavs.shape[1])
    return [wav[:end].numpy() for wav, end in zip(wavs, ends.tolist(), strict=True)]

"""Embeddings of clips of any length: tiled when short, the mean over windows when long, the same alone and in a batch.

(The published code crops at random, also in evaluation: defect D10 of the official tinyCLAP code.)
"""

from collections.abc import Iterable, Mapping

import torch
import torch.nn.functional as F

from tinyclap.audio.windows import WindowPolicy, mono, window_batches
from tinyclap.errors import AudioError
from tinyclap.features.resample import resample

__all__ = ["WindowPolicy", "as_clips", "as_waveforms", "clips_at", "cut_windows", "embed_windows"]

_NO_CLIP, _ADVICE = "holds no clip; give at least one", "read the file first"


def as_waveforms(wavs):
    """Arrays or tensors (T,) or (B, T), or a sequence of (T,) or (channels, T) → a list of mono float32 tensors (T_i,).

    In [−1, 1]; integers are scaled by their full range. An AudioError names the clip that is no audio.
    """
    if isinstance(wavs, torch.Tensor) or hasattr(wavs, "__array__"):
        wavs = _tensor(wavs, "the batch")
        clips = [wavs] if wavs.ndim < 2 else list(wavs)
    elif isinstance(wavs, (str, bytes, Mapping)) or not isinstance(wavs, Iterable):
        raise AudioError("the batch", f"is not an array of samples (its type is {type(wavs).__name__}); {_ADVICE}")
    else:
        clips = [_tensor(wav, f"clip {index} of the batch") for index, wav in enumerate(wavs)]
    return [mono(clip, torch.Tensor.float, f"clip {index} of the batch") for index, clip in enumerate(clips)]


def _tensor(samples, source):
    try:
        return torch.as_tensor(samples)
    except (TypeError, ValueError, RuntimeError) as error:
        raise AudioError(source, f"is not an array of samples ({error}); {_ADVICE}") from error


def as_clips(wavs):
    """As :func:`as_waveforms`, but one tensor (B, T) where all clips have one length; B is at least 1.

    A floating tensor (B, T) is not split into clips. NaN is looked for on the CPU alone: a device would be waited for.
    """
    if not (isinstance(wavs, torch.Tensor) and wavs.ndim == 2 and wavs.is_floating_point() and wavs.numel()):
        clips = as_waveforms(wavs)
        if not clips:
            raise AudioError("the batch", _NO_CLIP)
        return torch.stack(clips) if len({len(clip) for clip in clips}) == 1 else clips
    wavs = wavs.float()
    if wavs.device.type == "cpu" and not wavs.sum().isfinite():  # a sum is read once, without a mask
        as_waveforms(wavs)  # names the clip
    return wavs


def clips_at(wavs, from_hz, to_hz, device, method="sinc"):
    """Clips of :func:`as_clips` on a device, resampled.

    Arguments
    ---------
    wavs : As for :func:`as_waveforms`.
    from_hz, to_hz, method : See :func:`tinyclap.features.resample.resample`.
    device : str or torch.device
    """
    clips = as_clips(wavs)
    if isinstance(clips, torch.Tensor):
        return resample(clips.to(device), from_hz, to_hz, method)
    return [resample(clip.to(device), from_hz, to_hz, method) for clip in clips]


def cut_windows(wavs, sample_rate_hz, policy):
    """The windows (B, n_windows, T_window) of clips (B, T) on any device; see :meth:`WindowPolicy.cut`."""
    n_samples, length = wavs.shape[-1], policy.length(wavs.shape[-1], sample_rate_hz)
    if n_samples < length and policy.short == "pad":
        return F.pad(wavs, (0, length - n_samples))[:, None]
    if n_samples < length:
        return wavs.repeat(1, -(-length // n_samples))[:, None, :length]
    starts = policy.starts(n_samples, sample_rate_hz)
    return torch.stack([wavs[:, start : start + length] for start in starts], dim=1)


def embed_windows(forward, waveforms, sample_rate_hz, policy, batch_size=32, normalize=True):
    """Embeddings (B, D): the mean over the windows of each clip.

    Arguments
    ---------
    forward : callable. Windows (n, T_window) → embeddings (n, D).
    waveforms : torch.Tensor (B, T), which is not split into clips, or list of torch.Tensor, each of shape (T_i,)
    sample_rate_hz : int
    policy : WindowPolicy
    batch_size : int. Windows of one length in one call of `forward`.
    normalize : bool. L2-normalise the windows' embeddings, and their mean.
    """
    if isinstance(waveforms, torch.Tensor):
        windows = cut_windows(waveforms, sample_rate_hz, policy)
        rows = torch.cat([forward(part) for part in windows.flatten(0, 1).split(batch_size)])
        rows = F.normalize(rows, dim=-1) if normalize else rows
        means = rows.unflatten(0, windows.shape[:2]).sum(dim=1) / windows.shape[1]
        return F.normalize(means, dim=-1) if normalize else means
    totals, counts = None, torch.zeros(len(waveforms))
    for owners, windows in window_batches(waveforms, sample_rate_hz, policy, batch_size):
        rows = forward(torch.stack(windows))
        rows = F.normalize(rows, dim=-1) if normalize else rows
        if totals is None:
            totals, counts = rows.new_zeros(len(waveforms), rows.shape[-1]), counts.to(rows.device)
        owners = torch.tensor(owners, device=rows.device)
        totals.index_add_(0, owners, rows)
        counts.index_add_(0, owners, counts.new_ones(len(windows)))
    means = totals / counts[:, None].to(totals.dtype)
    return F.normalize(means, dim=-1) if normalize else means

"""Embeddings of clips of any length: tiled when short, the mean over windows when long, the same alone and in a batch.

(The published code crops at random, also in evaluation: defect D10 of the official tinyCLAP code.)
"""

import torch

from tinyclap.audio.windows import WindowPolicy, mono, window_batches
from tinyclap.errors import AudioError

__all__ = ["WindowPolicy", "as_waveforms", "embed_windows"]


def as_waveforms(wavs):
    """Arrays or tensors (T,) or (B, T), or a sequence of (T,) or (channels, T) → a list of mono float32 tensors (T_i,).

    In [−1, 1]; integers are scaled by their full range. An AudioError names the clip that is no audio.
    """
    if isinstance(wavs, torch.Tensor) or hasattr(wavs, "__array__"):
        wavs = _tensor(wavs, "the batch")
        clips = [wavs] if wavs.ndim == 1 else list(wavs)
    else:
        clips = [_tensor(wav, f"clip {index} of the batch") for index, wav in enumerate(wavs)]
    return [mono(clip, torch.Tensor.float, f"clip {index} of the batch") for index, clip in enumerate(clips)]


def _tensor(samples, source):
    try:
        return torch.as_tensor(samples)
    except (TypeError, ValueError, RuntimeError) as error:
        raise AudioError(source, f"is not an array of samples ({error}); read the file first") from error


def embed_windows(forward, waveforms, sample_rate_hz, policy, batch_size=32, normalize=True):
    """Embeddings (B, D): the mean over the windows of each clip.

    Arguments
    ---------
    forward : callable. Windows (n, T_window) → embeddings (n, D).
    waveforms : list of torch.Tensor, each of shape (T_i,)
    sample_rate_hz : int
    policy : WindowPolicy
    batch_size : int. Windows of one length in one call of `forward`.
    normalize : bool. L2-normalise the windows' embeddings, and their mean.
    """
    totals, counts = None, torch.zeros(len(waveforms))
    for owners, windows in window_batches(waveforms, sample_rate_hz, policy, batch_size):
        rows = forward(torch.stack(windows))
        rows = torch.nn.functional.normalize(rows, dim=-1) if normalize else rows
        if totals is None:
            totals, counts = rows.new_zeros(len(waveforms), rows.shape[-1]), counts.to(rows.device)
        owners = torch.tensor(owners, device=rows.device)
        totals.index_add_(0, owners, rows)
        counts.index_add_(0, owners, counts.new_ones(len(windows)))
    means = totals / counts[:, None].to(totals.dtype)
    return torch.nn.functional.normalize(means, dim=-1) if normalize else means

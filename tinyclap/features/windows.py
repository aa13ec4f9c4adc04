"""One deterministic embedding for a clip of any length: windows, tiled when short, averaged when long.

The published code crops at random, also when it scores (defect D10 of the official tinyCLAP code): the same file gives
another embedding each time. Here a clip is cut into windows at fixed places, a function of its length alone, so the
same clip has the same embedding alone and in a batch.
"""

import torch

from tinyclap.audio.windows import WindowPolicy, mono, window_batches
from tinyclap.errors import AudioError

__all__ = ["WindowPolicy", "as_waveforms", "embed_windows"]


def as_waveforms(wavs):
    """Turn what callers hold into a list of mono float32 tensors.

    Arguments
    ---------
    wavs : array or tensor of shape (T,) or (B, T), or a sequence of clips of shape (T,) or (channels, T)
        float32 in [-1, 1]; integers are scaled by their full range. Channels are averaged.

    Returns
    -------
    list of torch.Tensor, each of shape (T_i,)

    Raises
    ------
    AudioError
        A clip is empty, is not numeric, has NaN or infinite samples, or does not have its channels first.
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
    """Embed clips of any length.

    Arguments
    ---------
    forward : callable
        Windows (n, T_window) → embeddings (n, D).
    waveforms : list of torch.Tensor, each of shape (T_i,)
        At the rate that `forward` expects.
    sample_rate_hz : int
        That rate.
    policy : WindowPolicy
    batch_size : int
        Windows in one call of `forward`; windows of one length go together.
    normalize : bool
        L2-normalise the windows' embeddings, and their mean: a direction on the sphere. Otherwise the plain mean
        (for probabilities).

    Returns
    -------
    torch.Tensor, shape (B, D)

    Raises
    ------
    AudioError
        There is no clip.

    Example
    -------
    >>> clips = [torch.ones(300), torch.ones(1700)]
    >>> embed_windows(lambda x: x[:, :4], clips, 100, WindowPolicy(window_s=5.0)).shape
    torch.Size([2, 4])
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

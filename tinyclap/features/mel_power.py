"""Mel power spectrogram on the CPU without gradient, in blocks of frames that stay in the cache."""

import torch

# Frames times samples of one thread's block: block and spectrum take 0.4 MB each, of a second-level cache of 1 MB.
_BLOCK_NUMEL = 96 * 1024


@torch.no_grad()
def mel_power_in_blocks(wav, window, part_bands, n_fft, hop_length):
    """Mel power (F, M) of a centred short-time Fourier transform with reflection.

    Arguments
    ---------
    wav : torch.Tensor, shape (T,), float32, on the CPU. T > n_fft / 2.
    window : torch.Tensor, shape (W,). W ≤ n_fft, centred in the frame.
    part_bands : torch.Tensor, shape (2·K, M). From :func:`bands_of_parts`.
    n_fft, hop_length : int

    Notes
    -----
    Frames are views of the reflected waveform. Real and imaginary parts are squared in place, and one product with the
    bands adds them up; bins above the highest band are skipped.

    Example
    -------
    >>> part_bands = bands_of_parts(torch.ones(513, 1))
    >>> mel_power_in_blocks(torch.ones(700), torch.ones(1024), part_bands, 1024, 320)[0]  # 1024² at 0 Hz
    tensor([1048576.])
    """
    half, start = n_fft // 2, (n_fft - len(window)) // 2
    n_frames = len(wav) // hop_length + 1
    n_block = min(n_frames, max(1, _BLOCK_NUMEL * torch.get_num_threads() // n_fft))
    reflected = torch.cat([wav[1 : half + 1].flip(0), wav, wav[-half - 1 : -1].flip(0)])
    frames = reflected.as_strided((n_frames, len(window)), (hop_length, 1), start)
    block = wav.new_zeros(n_block, n_fft)  # stays zero where the window does not reach
    windowed = block[:, start : start + len(window)]
    mel_power = wav.new_empty(n_frames, part_bands.shape[1])
    for some_frames, some_power in zip(frames.split(n_block), mel_power.split(n_block), strict=True):
        torch.mul(some_frames, window, out=windowed[: len(some_frames)])
        spectrum = torch.fft.rfft(block[: len(some_frames)])
        parts = torch.view_as_real(spectrum).flatten(1)[:, : len(part_bands)]
        torch.mm(parts.square_(), part_bands, out=some_power)
    return mel_power


def bands_of_parts(bands):
    """Mel filters (bins, M) up to the last bin in use, each bin twice, for its real and imaginary part: (2·K, M).

    Example
    -------
    >>> bands_of_parts(torch.tensor([[1.0], [2.0], [0.0]])).flatten()
    tensor([1., 1., 2., 2.])
    """
    n_read = int(bands.any(dim=1).nonzero().max()) + 1
    return bands[:n_read].repeat_interleave(2, dim=0)

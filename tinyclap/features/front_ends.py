"""Log-mel spectrograms of waveforms, with the presets of published models.

Source: the front ends of CLAP 2022 and WavCaps (torchlibrosa), of EfficientAT (Kaldi banks) and of the EfficientNet
captioner (torchaudio); mel scales of O'Shaughnessy (HTK), Slaney's Auditory Toolbox and Kaldi.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from tinyclap.config.registry import configurable
from tinyclap.errors import ConfigError

# fmt: off
PRESETS = {
    "clap2022": {
        "sample_rate_hz": 44100, "n_fft": 1024, "win_length": 1024, "hop_length": 320,
        "n_mels": 64, "f_min_hz": 50.0, "f_max_hz": 14000.0, "mel_scale": "slaney", "mel_norm": "slaney",
        "log": "db", "floor": 1e-10,
    },
    "efficientat": {
        "sample_rate_hz": 32000, "n_fft": 1024, "win_length": 800, "hop_length": 320,
        "n_mels": 128, "f_min_hz": 0.0, "f_max_hz": 15000.0, "mel_scale": "kaldi", "mel_norm": None,
        "window": "hann_symmetric", "preemphasis": 0.97, "log": "offset", "floor": 1e-5, "shift": 4.5, "scale": 0.2,
    },
    "efficientnet_captioner": {
        "sample_rate_hz": 16000, "n_fft": 512, "win_length": 512, "hop_length": 160,
        "n_mels": 64, "f_min_hz": 0.0, "f_max_hz": 8000.0, "mel_scale": "htk", "mel_norm": None,
        "log": "db", "floor": 1e-10, "top_db": 120.0,
    },
    "wavcaps_htsat": {
        "sample_rate_hz": 32000, "n_fft": 1024, "win_length": 1024, "hop_length": 320,
        "n_mels": 64, "f_min_hz": 50.0, "f_max_hz": 14000.0, "mel_scale": "slaney", "mel_norm": "slaney",
        "log": "db", "floor": 1e-10,
    },
}
# fmt: on


def log_mel(preset, **changes):
    """A :class:`LogMel` with the arguments of a preset ("clap2022", "efficientat", …) and `changes` to them.

    Example
    -------
    >>> log_mel("clap2022", n_mels=40)(torch.zeros(2, 44100)).shape
    torch.Size([2, 138, 40])
    """
    if preset not in PRESETS:
        raise ConfigError(f"no log-mel preset {preset!r}; there are {', '.join(PRESETS)}")
    return LogMel(**{**PRESETS[preset], **changes})


@configurable
class LogMel(nn.Module):
    """Log-mel spectrogram: pre-emphasis, centred STFT with reflection, power, triangular bands, logarithm.

    Arguments
    ---------
    sample_rate_hz, n_fft, win_length, hop_length, n_mels : int
    f_min_hz, f_max_hz : float. Edges of the lowest and of the highest band.
    mel_scale : {"slaney", "htk", "kaldi"}. Triangles over Hz, or ("kaldi") over mel, without the bin at Nyquist's.
    mel_norm : {None, "slaney"}. "slaney" gives every band unit area over Hz.
    window : {"hann", "hann_symmetric"}. Periodic or symmetric.
    preemphasis : float. c in y_t = x_{t+1} − c·x_t; 0 leaves it out.
    log : {"db", "offset"}. 10·log10(max(power, floor)), or ln(power + floor).
    floor : float
    top_db : float or None. Maximum distance from the clip's maximum ("db" only).
    shift, scale : float. The result is (logarithm + shift)·scale.

    Notes
    -----
    Waveforms of T ≤ n_fft/2 samples are zero-padded to n_fft/2 + 1. Always float32. On the CPU without gradient
    :func:`mel_power_in_blocks` is up to four times as fast; compilers, tracers and FLOP counters see plain operations.

    Example
    -------
    >>> features = log_mel("clap2022")
    >>> features(torch.zeros(1, 220500)).shape, features.n_frames(220500)
    (torch.Size([1, 690, 64]), 690)
    """

    def __init__(
        self,
        sample_rate_hz=44100,
        n_fft=1024,
        win_length=1024,
        hop_length=320,
        n_mels=64,
        f_min_hz=50.0,
        f_max_hz=14000.0,
        mel_scale="slaney",
        mel_norm="slaney",
        window="hann",
        preemphasis=0.0,
        log="db",
        floor=1e-10,
        top_db=None,
        shift=0.0,
        scale=1.0,
    ):
        super().__init__()
        _one_of("window", window, ("hann", "hann_symmetric"))
        _one_of("log", log, ("db", "offset"))
        if not 0 < hop_length or not 0 < win_length <= n_fft:
            sizes = f"{hop_length}, {win_length}, {n_fft}"
            raise ConfigError(f"need 0 < hop_length and 0 < win_length <= n_fft; got {sizes}")
        self.sample_rate_hz, self.n_mels, self.hop_length = sample_rate_hz, n_mels, hop_length
        self.n_fft, self.win_length = n_fft, win_length
        self.preemphasis, self.log, self.floor, self.top_db = preemphasis, log, floor, top_db
        self.shift, self.scale = shift, scale
        hann = torch.hann_window(win_length, periodic=window == "hann", dtype=torch.float64).float()
        bands = mel_bands(sample_rate_hz, n_fft, n_mels, f_min_hz, f_max_hz, mel_scale, mel_norm)
        # They follow from the arguments, so they stay out of the state dict.
        self.register_buffer("window", hann, persistent=False)
        self.register_buffer("bands", bands.to(hann.device, torch.float32), persistent=False)
        self.register_buffer("part_bands", bands_of_parts(bands).to(hann.device, torch.float32), persistent=False)

    def n_frames(self, n_samples):
        """Frames F of a waveform of `n_samples` samples; an int, or a tensor of them."""
        if isinstance(n_samples, torch.Tensor):
            n_read = (n_samples - int(bool(self.preemphasis))).clamp(min=self.n_fft // 2 + 1)
        else:
            n_read = max(n_samples - bool(self.preemphasis), self.n_fft // 2 + 1)
        return n_read // self.hop_length + 1

    def forward(self, wavs, batch_dynamic_range=False):
        """Waveforms (B, T) in [−1, 1] → log-mel spectrograms (B, F, M).

        With `batch_dynamic_range`, `top_db` counts from the maximum of the batch, as published, not of each clip.
        """
        if wavs.ndim != 2 or wavs.shape[1] == 0:
            raise ConfigError(f"waveforms have shape (B, T) with T >= 1, not {tuple(wavs.shape)}")
        with torch.autocast(wavs.device.type, enabled=False):
            wavs = wavs.float()
            if _can_use_buffers(wavs):
                how = self.window, self.part_bands, self.n_fft, self.hop_length
                mel_power = torch.stack([mel_power_in_blocks(self._read(wav[None])[0], *how) for wav in wavs])
            elif wavs.device.type == "cpu" and wavs.shape[0] > 1 and not torch.compiler.is_compiling():
                mel_power = torch.cat([self._mel_power(self._read(wav[None])) for wav in wavs])
            else:
                mel_power = self._mel_power(self._read(wavs))
            return self._logarithm(mel_power, batch_dynamic_range)

    def _read(self, wavs):
        """Pre-emphasise, and zero-pad for the reflection."""
        if self.preemphasis:
            wavs = F.pad(wavs, (0, max(0, 2 - wavs.shape[1])))
            wavs = torch.sub(wavs[:, 1:], wavs[:, :-1], alpha=self.preemphasis)
        n_missing = self.n_fft // 2 + 1 - wavs.shape[1]
        return F.pad(wavs, (0, n_missing)) if n_missing > 0 else wavs

    def _mel_power(self, wavs):
        spectrum = torch.stft(
            wavs, self.n_fft, self.hop_length, self.win_length, self.window, pad_mode="reflect", return_complex=True
        )
        power = spectrum.real.square() + spectrum.imag.square()
        return power.transpose(1, 2) @ self.bands

    def _logarithm(self, mel_power, batch_dynamic_range):
        """The logarithm of `mel_power`, which is overwritten."""
        if self.log == "offset":
            logarithm = mel_power.add_(self.floor).log_()
        else:
            logarithm = mel_power.clamp_(min=self.floor).log10_().mul_(10.0)
            if self.top_db is not None:
                loudest = logarithm.amax() if batch_dynamic_range else logarithm.amax((1, 2), keepdim=True)
                logarithm = logarithm.maximum(loudest - self.top_db)
        return logarithm.add_(self.shift).mul_(self.scale) if self.shift or self.scale != 1.0 else logarithm


def _can_use_buffers(wavs):
    """Whether the path that writes into buffers can be taken: CPU, no gradient, no compiler or tracer."""
    return (
        wavs.device.type == "cpu"
        and wavs.shape[0] > 0
        and not (wavs.requires_grad and torch.is_grad_enabled())
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and not is_in_torch_dispatch_mode()
    )


def mel_bands(sample_rate_hz, n_fft, n_mels, f_min_hz, f_max_hz, scale="slaney", norm=None):
    """Triangular mel filters (n_fft // 2 + 1, n_mels), float64.

    Arguments
    ---------
    sample_rate_hz, n_fft, n_mels, f_min_hz, f_max_hz, scale, norm. As for :class:`LogMel`.
    """
    _one_of("mel_scale", scale, ("slaney", "htk", "kaldi"))
    _one_of("mel_norm", norm, (None, "slaney"))
    if not 0 <= f_min_hz < f_max_hz <= sample_rate_hz / 2:
        raise ConfigError(f"need 0 <= f_min_hz < f_max_hz <= {sample_rate_hz / 2} Hz; got {f_min_hz} and {f_max_hz}")
    # on the CPU also where the default device is "meta"
    exact = {"dtype": torch.float64, "device": "cpu"}
    bins_hz = torch.linspace(0, sample_rate_hz / 2, n_fft // 2 + 1, **exact)
    ends_mel = _hz_to_mel(torch.tensor([f_min_hz, f_max_hz], **exact), scale)
    edges_mel = torch.linspace(ends_mel[0], ends_mel[1], n_mels + 2, **exact)
    edges_hz = _mel_to_hz(edges_mel, scale)
    edges, bins = (edges_mel, _hz_to_mel(bins_hz, scale)) if scale == "kaldi" else (edges_hz, bins_hz)
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    rising = (bins[:, None] - low) / (centre - low)
    falling = (high - bins[:, None]) / (high - centre)
    bands = torch.minimum(rising, falling).clamp(min=0)
    if scale == "kaldi":
        bands[-1] = 0
    return bands * (2 / (edges_hz[2:] - edges_hz[:-2])) if norm == "slaney" else bands


# Slaney's scale: linear with 200/3 Hz a mel up to 1000 Hz, then 27 mels for each factor of 6.4.
_LINEAR_HZ, _KNEE_HZ, _LOG_STEP = 200.0 / 3, 1000.0, math.log(6.4) / 27


def _hz_to_mel(hz, scale):
    if scale == "htk":
        return 2595.0 * torch.log10(1 + hz / 700)
    if scale == "kaldi":
        return 1127.0 * torch.log(1 + hz / 700)
    knee = _KNEE_HZ / _LINEAR_HZ
    return torch.where(hz < _KNEE_HZ, hz / _LINEAR_HZ, knee + torch.log(hz.clamp(min=_KNEE_HZ) / _KNEE_HZ) / _LOG_STEP)


def _mel_to_hz(mel, scale):
    if scale == "htk":
        return 700 * (10 ** (mel / 2595.0) - 1)
    if scale == "kaldi":
        return 700 * (torch.exp(mel / 1127.0) - 1)
    knee = _KNEE_HZ / _LINEAR_HZ
    return torch.where(mel < knee, mel * _LINEAR_HZ, _KNEE_HZ * torch.exp((mel - knee) * _LOG_STEP))


def _one_of(name, value, choices):
    if value not in choices:
        raise ConfigError(f"{name} {value!r} is none of {', '.join(repr(choice) for choice in choices)}")


# Frames times samples of one thread's block: block and spectrum take 0.4 MB each, of a second-level cache of 1 MB.
_BLOCK_NUMEL = 96 * 1024


@torch.no_grad()
def mel_power_in_blocks(wav, window, part_bands, n_fft, hop_length):
    """Mel power (F, M) of a centred short-time Fourier transform with reflection.

    Blocks of frames stay in the cache. Real and imaginary parts are squared in place, and one product with the bands
    adds them up; bins above the highest band are skipped.

    Arguments
    ---------
    wav : torch.Tensor, shape (T,), float32, on the CPU. T > n_fft / 2.
    window : torch.Tensor, shape (W,). W ≤ n_fft, centred in the frame.
    part_bands : torch.Tensor, shape (2·K, M). From :func:`bands_of_parts`.
    n_fft, hop_length : int
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
    """Mel filters (bins, M) up to the last bin in use, each bin twice, for its real and imaginary part: (2·K, M)."""
    n_read = int(bands.any(dim=1).nonzero().max()) + 1
    return bands[:n_read].repeat_interleave(2, dim=0)

"""The log-mel front end for ONNX, waveform (B, T) to log-mel (B, F, M), by convolution and matrix products alone.

No engine has a quick short-time Fourier transform, but all have quick matrix products; so the transform is written as
two of them (Cooley and Tukey, "An algorithm for the machine calculation of complex Fourier series", 1965), with the
window, the phases and the bands in their constants. At CLAP's sizes that is 105 000 multiply-accumulates a frame,
against 690 000 with the Fourier transform as one product.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from tinyclap.errors import ConfigError

_SAME = ("sample_rate_hz", "n_mels", "hop_length", "n_fft", "win_length", "preemphasis")
_SAME += ("log", "floor", "top_db", "shift", "scale")


class ExportLogMel(nn.Module):
    """:class:`~tinyclap.features.LogMel` for export: the same values from operations that are quick everywhere.

    Made of `features`, a :class:`tinyclap.features.front_ends.LogMel` whose ``n_fft`` is even.

    Notes
    -----
    With N = n_fft = a·b, n = b·n₁ + n₂ and k = k₁ + a·k₂, a bin of a frame is

        X_k = Σ_{n₂} exp(−2πi·n₂·k₂/b) · Y_{n₂}(k₁),   Y_{n₂}(k₁) = Σ_{n₁} x_n·w_n·exp(−2πi·n·k₁/N).

    The first sum, over samples b apart, is one convolution with b groups (b divides the hop); the second is one product
    for each k₁. The signal is real, so k₁ = 0 … a/2 give all bins, k and N − k having one power. k₁ = 0 is real, and so
    is k₁ = a/2 before its phase exp(−πi·n₂/b), which the second sum then brings in: the two share a slot, as real and
    imaginary part, and there are a/2 slots of equal size. Only bins that a band reads are worked out. The axis of
    frames is the innermost throughout.

    Equal to LogMel to 1e-3 dB wherever the power in a band is less than 70 dB below the loudest; further down, and
    above the floor, both are rounding errors of float32. Waveforms have ``min_samples`` samples at least.

    Example
    -------
    >>> from tinyclap.features.front_ends import log_mel
    >>> ExportLogMel(log_mel("clap2022"))(torch.zeros(1, 220500)).shape
    torch.Size([1, 690, 64])
    """

    def __init__(self, features):
        super().__init__()
        if features.n_fft % 2:
            raise ConfigError(f"a front end is exported with an even n_fft, not {features.n_fft}")
        for name in _SAME:
            setattr(self, name, getattr(features, name))
        self.min_samples = self.n_fft // 2 + 1 + bool(self.preemphasis)
        self.n_hops = -(-self.win_length // self.hop_length)  # that a window reaches into
        bands = features.bands.double().cpu()
        bins = bands.any(dim=1).nonzero().flatten().tolist()
        self.n_groups = _groups(self.n_fft, self.hop_length, self.win_length, len(bins))
        self.n_slots = self.n_fft // self.n_groups // 2
        second, bands_of_rows = self._second_sums(bins, bands)
        # They follow from the arguments, so they stay out of the state dict.
        self.register_buffer("first", self._first_sums(features.window.double().cpu()), persistent=False)
        self.register_buffer("second", second, persistent=False)
        self.register_buffer("bands", bands_of_rows, persistent=False)

    def _first_sums(self, window):
        """Kernels (b·a, hop / b, n_hops): for each n₂ and slot, window times phase, real and imaginary."""
        n = torch.arange(self.n_hops * self.hop_length)
        weights = torch.zeros(len(n), dtype=torch.float64)
        weights[: self.win_length] = window
        angle = (2 * math.pi / self.n_fft) * (n[:, None] * torch.arange(self.n_slots) % self.n_fft).double()
        phases = torch.stack([angle.cos(), -angle.sin()], dim=-1)
        phases[:, 0, 1] = 1.0 - 2.0 * (n // self.n_groups % 2)  # k₁ = a/2, whose phase comes with the second sum
        kernels = (phases * weights[:, None, None]).view(self.n_hops, -1, self.n_groups, 2 * self.n_slots)
        return kernels.permute(2, 3, 1, 0).reshape(self.n_groups * 2 * self.n_slots, -1, self.n_hops).float()

    def _second_sums(self, bins, bands):
        """Products (a/2, 2·R, 2·b), from a slot's first sums to its bins' real, imaginary parts; bands (M, a/2·R)."""
        n_fft, n_groups, n_slots = self.n_fft, self.n_groups, self.n_slots
        bins_of_slot = [[] for _ in range(n_slots)]
        for k in bins:
            bins_of_slot[min(k % (2 * n_slots), -k % (2 * n_slots)) % n_slots].append(k)
        n_rows = max(map(len, bins_of_slot))
        products = torch.zeros(n_slots, 2, n_rows, n_groups, 2, dtype=torch.float64)
        bands_of_rows = torch.zeros(n_slots, n_rows, bands.shape[1], dtype=torch.float64)
        n2 = torch.arange(n_groups)
        for slot, of_slot in enumerate(bins_of_slot):
            for row, k in enumerate(of_slot):
                bands_of_rows[slot, row] = bands[k]
                same_power = k if k % (2 * n_slots) <= n_slots else n_fft - k
                if slot == 0:  # real first sums, with all of the phase still to come
                    angle = (2 * math.pi / n_fft) * (n2 * same_power % n_fft).double()
                    kept = 0 if same_power % (2 * n_slots) == 0 else 1
                    products[slot, :, row, :, kept] = torch.stack([angle.cos(), -angle.sin()])
                else:
                    k2 = (same_power - slot) // (2 * n_slots)
                    angle = (2 * math.pi / n_groups) * (n2 * k2 % n_groups).double()
                    cos, sin = angle.cos(), angle.sin()
                    products[slot, :, row] = torch.stack([torch.stack([cos, sin], -1), torch.stack([-sin, cos], -1)])
        flat_bands = bands_of_rows.view(-1, bands.shape[1]).T
        return products.view(n_slots, 2 * n_rows, 2 * n_groups).float(), flat_bands.float().contiguous()

    def example(self, network):
        """Waveforms (2, T) to trace with; a ConfigError where windows of the network's policy are too short for it."""
        least = network.policy.length(1, network.sample_rate_hz)
        if least < self.min_samples:
            raise ConfigError(
                f"the window policy gives windows of {least} samples, the exported front end needs {self.min_samples}; "
                "make min_s longer, or window_s"
            )
        return torch.zeros(2, max(least, round(1.3 * network.sample_rate_hz)))  # of any length: it holds for all

    def forward(self, wavs):
        """Map waveforms (B, T) to log-mel spectrograms (B, F, M)."""
        n_clips = wavs.shape[0]
        if self.preemphasis:
            wavs = wavs[:, 1:] - self.preemphasis * wavs[:, :-1]
        half, hop = self.n_fft // 2, self.hop_length
        n_frames = wavs.shape[1] // hop + 1
        before = half - (self.n_fft - self.win_length) // 2  # reflected samples that the first window reads
        reflected = [wavs[:, 1 : before + 1].flip(1), wavs, wavs[:, -half - 1 : -1].flip(1)]
        # What the last window reads beyond it has weight zero.
        padded = F.pad(torch.cat(reflected, dim=1), (0, (self.n_hops + 1) * hop))
        padded = padded[:, : (n_frames - 1 + self.n_hops) * hop]
        hops = padded.view(n_clips, -1, hop).transpose(1, 2).reshape(n_clips, hop // self.n_groups, self.n_groups, -1)
        by_group = hops.transpose(1, 2).reshape(n_clips, hop, -1)
        first = F.conv1d(by_group, self.first, groups=self.n_groups)
        by_slot = first.view(n_clips, self.n_groups, self.n_slots, -1).transpose(1, 2)
        parts = self.second @ by_slot.reshape(n_clips, self.n_slots, 2 * self.n_groups, n_frames)
        real, imaginary = parts.chunk(2, dim=2)
        power = (real * real + imaginary * imaginary).reshape(n_clips, -1, n_frames)
        return self._logarithm((self.bands @ power).transpose(1, 2))

    def _logarithm(self, mel_power):
        if self.log == "offset":
            logarithm = torch.log(mel_power + self.floor)
        else:
            logarithm = torch.log(mel_power.clamp(min=self.floor)) * (10.0 / math.log(10.0))
            if self.top_db is not None:
                logarithm = logarithm.maximum(logarithm.amax((1, 2), keepdim=True) - self.top_db)
        return (logarithm + self.shift) * self.scale if self.shift or self.scale != 1.0 else logarithm


def _groups(n_fft, hop_length, win_length, n_bins):
    """The b with the fewest multiply–accumulates; a = n_fft / b is even, and b divides the hop."""
    common = math.gcd(n_fft, hop_length)
    possible = [b for b in range(1, common + 1) if common % b == 0 and n_fft // b % 2 == 0]
    return min(possible, key=lambda b: n_fft // b * win_length + 4 * n_bins * b)

"""Windows of clips: where a clip is cut is a function of its length alone. Arrays and tensors alike; no torch."""

import math
from dataclasses import asdict, dataclass

import numpy as np

from tinyclap.errors import AudioError, ConfigError

# A tail that is shorter than this part of a window is not worth a window of its own: ESC-50's OGG releases run 1 ms
# over their 5 s, and a second window end-aligned one millisecond later would double the cost for nothing.
TAIL_TOLERANCE = 0.05


@dataclass(frozen=True)
class WindowPolicy:
    """How a clip becomes windows of one length. The last window is moved back to end with the clip.

    By `short`, a clip shorter than a window is repeated ("tile", as by Microsoft's CLAP wrapper), padded with zeros
    ("pad", as by the official tinyCLAP code), or left as it is, tiled up to `min_s` ("native", for networks that take
    any length).
    """

    window_s: float = 5.0  # the longest input of the network
    short: str = "tile"
    hop_s: float | None = None  # from window to window; None: one window
    min_s: float = 1.0  # minimum input under "native"

    def __post_init__(self):
        if self.short not in ("tile", "pad", "native"):
            raise ConfigError(f"window policy: short={self.short!r}; choose 'tile', 'pad' or 'native'")
        if not self.window_s > 0 or (self.hop_s is not None and not self.hop_s > 0):
            raise ConfigError(f"window policy: window_s={self.window_s}, hop_s={self.hop_s} must be positive seconds")

    @property
    def config(self):
        """The policy as a JSON-able dict."""
        return asdict(self)

    def starts(self, n_samples, sample_rate_hz):
        """First sample of each window, at least one: list of int.

        Example
        -------
        >>> WindowPolicy(window_s=5.0).starts(12 * 44100, 44100)
        [0, 220500, 308700]
        """
        window = round(self.window_s * sample_rate_hz)
        hop = window if self.hop_s is None else round(self.hop_s * sample_rate_hz)
        last = n_samples - window
        if last <= TAIL_TOLERANCE * window:
            return [0]
        starts = list(range(0, last + 1, hop))
        return starts + [last] * (last - starts[-1] > TAIL_TOLERANCE * window)

    def length(self, n_samples, sample_rate_hz):
        """Samples in each window of a clip of `n_samples` samples; more than the clip has where it is made longer."""
        window = round(self.window_s * sample_rate_hz)
        if n_samples >= window or self.short != "native":
            return window
        return max(n_samples, min(window, round(self.min_s * sample_rate_hz)))

    def cut(self, waveform, sample_rate_hz):
        """The windows (n_windows, T_window) of a clip (T,), array or tensor; a single one shares the clip's memory.

        Example
        -------
        >>> WindowPolicy(window_s=5.0).cut(np.arange(3), 1).tolist()
        [[0, 1, 2, 0, 1]]
        """
        n_samples = waveform.shape[-1]
        length = self.length(n_samples, sample_rate_hz)
        if n_samples < length:
            row = waveform[np.arange(length) % n_samples]
            if self.short == "pad":
                row[n_samples:] = 0
            return row[None]
        starts = self.starts(n_samples, sample_rate_hz)
        if len(starts) == 1:
            return waveform[None, :length]
        return waveform[np.array(starts)[:, None] + np.arange(length)]


def window_batches(clips, sample_rate_hz, policy, batch_size=32):
    """The windows of many clips, in batches of one length: yields the clip of each window, and windows (T_window,).

    Arguments
    ---------
    clips : list of numpy.ndarray or torch.Tensor, each of shape (T_i,)
    sample_rate_hz : int
    policy : WindowPolicy
    batch_size : int. Maximum number of windows.
    """
    if not clips:
        raise AudioError("the batch", "holds no clip; give at least one")
    cut = ((index, window) for index, clip in enumerate(clips) for window in policy.cut(clip, sample_rate_hz))
    yield from _batches_of_one_shape(cut, batch_size)


def clip_groups(clips, sample_rate_hz, policy, batch_size=16):
    """Batches of clips with windows of the same number and length, so that none is padded.

    Yields which clips they are, and their windows, each (n_windows, T_window).

    Arguments
    ---------
    clips, sample_rate_hz, policy : As for :func:`window_batches`.
    batch_size : int. Maximum number of clips.

    Example
    -------
    >>> clips = [np.ones(3), np.ones(12), np.ones(3)]
    >>> [owners for owners, _ in clip_groups(clips, 1, WindowPolicy(window_s=5.0))]
    [[0, 2], [1]]
    """
    cut = ((index, policy.cut(clip, sample_rate_hz)) for index, clip in enumerate(clips))
    yield from _batches_of_one_shape(cut, batch_size)


def _batches_of_one_shape(items, batch_size):
    """Yields lists of indices and of arrays from pairs of them."""
    by_shape = {}
    for item in items:
        by_shape.setdefault(tuple(item[1].shape), []).append(item)
    for members in by_shape.values():
        for first in range(0, len(members), batch_size):
            indices, arrays = zip(*members[first : first + batch_size], strict=True)
            yield list(indices), list(arrays)


def mono(clip, to_float32, source):
    """The mean of a clip's channels, (T,) float32, by ``to_float32(clip)``; AudioError, naming `source`, for no sound.

    The clip, an array or tensor (T,) or (channels, T), has floats in [-1, 1], or integers, which are scaled by their
    full range.

    Example
    -------
    >>> mono(np.array([[64, 128], [192, 128]], np.uint8), np.float32, "clip 0").tolist()
    [0.0, 0.0]
    """
    if 0 in clip.shape:
        raise AudioError(source, "has no samples; leave it out or give its audio")
    kind = str(clip.dtype).removeprefix("torch.")
    if kind.startswith(("int", "uint")):
        # Unsigned PCM has its zero in the middle of its range.
        full_scale = 2.0 ** (8 * clip.dtype.itemsize - 1)
        clip = (to_float32(clip) - (full_scale if kind.startswith("uint") else 0)) / full_scale
    elif "float" not in kind:
        raise AudioError(source, f"is not an array of samples (its type is {kind}); read the file first")
    clip = to_float32(clip)
    if clip.ndim == 2:
        if clip.shape[0] > clip.shape[1]:
            raise AudioError(source, f"has shape {tuple(clip.shape)}; channels come first: (channels, samples)")
        clip = clip.mean(0)
    if clip.ndim != 1:
        raise AudioError(source, f"has {clip.ndim} dimensions; a clip is (samples,) or (channels, samples)")
    if not bool((abs(clip) < math.inf).all()):
        raise AudioError(source, "has NaN or infinite samples; the file or the code that made it is broken")
    return clip

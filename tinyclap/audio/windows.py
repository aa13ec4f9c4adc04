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
    """How a clip becomes windows of one length.

    Arguments
    ---------
    window_s : float. Length of a window, the longest input of the network.
    short : {"tile", "pad", "native"}
        A clip shorter than a window is repeated (as by Microsoft's CLAP wrapper), padded with zeros (as by the official
        tinyCLAP code), or left as it is, tiled up to `min_s` (for networks that take any length).
    hop_s : float, optional
        Distance between windows; by default one window. The last window is moved back to end with the clip.
    min_s : float. Minimum input under ``"native"``.
    """

    window_s: float = 5.0
    short: str = "tile"
    hop_s: float | None = None
    min_s: float = 1.0

    def __post_init__(self):
        if self.short not in ("tile", "pad", "native"):
            raise ConfigError(f"window policy: short={self.short!r}; choose 'tile', 'pad' or 'native'")
        if not self.window_s > 0 or (self.hop_s is not None and not self.hop_s > 0):
            raise ConfigError(
                f"window policy: window_s={self.window_s} and hop_s={self.hop_s} must be positive seconds"
            )

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
        if last - starts[-1] > TAIL_TOLERANCE * window:
            starts.append(last)
        return starts

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
    """The windows of many clips, in batches of one length each.

    Arguments
    ---------
    clips : list of numpy.ndarray or torch.Tensor, each of shape (T_i,)
    sample_rate_hz : int
    policy : WindowPolicy
    batch_size : int. Maximum number of windows.

    Yields
    ------
    list of int. The clip of each window.
    list of numpy.ndarray or torch.Tensor, each of shape (T_window,)

    Raises
    ------
    AudioError: There is no clip.

    Example
    -------
    >>> clips = [np.ones(3), np.ones(12)]
    >>> [owners for owners, _ in window_batches(clips, 1, WindowPolicy(window_s=5.0), batch_size=3)]
    [[0, 1, 1], [1]]
    """
    if not clips:
        raise AudioError("the batch", "holds no clip; give at least one")
    by_length = {}
    for index, clip in enumerate(clips):
        for window in policy.cut(clip, sample_rate_hz):
            by_length.setdefault(window.shape[-1], []).append((index, window))
    for windows in by_length.values():
        for first in range(0, len(windows), batch_size):
            part = windows[first : first + batch_size]
            yield [index for index, _ in part], [window for _, window in part]


def clip_groups(clips, sample_rate_hz, policy, batch_size=16):
    """Batches of clips with windows of the same number and length, so that none is padded.

    Arguments
    ---------
    clips, sample_rate_hz, policy : As for :func:`window_batches`.
    batch_size : int. Maximum number of clips.

    Yields
    ------
    list of int. Which clips they are.
    list of numpy.ndarray or torch.Tensor, each of shape (n_windows, T_window)

    Example
    -------
    >>> clips = [np.ones(3), np.ones(12), np.ones(3)]
    >>> [owners for owners, _ in clip_groups(clips, 1, WindowPolicy(window_s=5.0))]
    [[0, 2], [1]]
    """
    by_shape = {}
    for index, clip in enumerate(clips):
        pieces = policy.cut(clip, sample_rate_hz)
        by_shape.setdefault(tuple(pieces.shape), []).append((index, pieces))
    for members in by_shape.values():
        for first in range(0, len(members), batch_size):
            part = members[first : first + batch_size]
            yield [index for index, _ in part], [pieces for _, pieces in part]


def mono(clip, to_float32, source):
    """The mean of a clip's channels: (T,) float32.

    Arguments
    ---------
    clip : numpy.ndarray or torch.Tensor, shape (T,) or (channels, T)
        Floats in [-1, 1], or integers, which are scaled by their full range.
    to_float32 : callable. Turns `clip` into float32 of its own kind.
    source : str. In messages.

    Raises
    ------
    AudioError: It is empty, is not numeric, has NaN or infinite samples, or does not have its channels first.

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

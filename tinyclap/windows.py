"""One deterministic embedding for a clip of any length: windows, tiled when short, averaged when long.

The published code crops at random, also when it scores (defect D10 of the official tinyCLAP code): the same file gives
another embedding each time. Here a clip is cut into windows at fixed places, a function of its length alone, so the
same clip has the same embedding alone and in a batch.
"""

from dataclasses import asdict, dataclass

import torch

from tinyclap.errors import AudioError, ConfigError

# A tail that is shorter than this part of a window is not worth a window of its own: ESC-50's OGG releases run 1 ms
# over their 5 s, and a second window end-aligned one millisecond later would double the cost for nothing.
TAIL_TOLERANCE = 0.05


@dataclass(frozen=True)
class WindowPolicy:
    """How a clip becomes windows of one length.

    Arguments
    ---------
    window_s : float
        Length of a window, and the longest input that the network sees, in seconds.
    short : str
        What happens to a clip shorter than a window: ``"tile"`` repeats it (as Microsoft's CLAP wrapper does),
        ``"pad"`` appends zeros (as the official tinyCLAP code does), ``"native"`` leaves it as it is, but tiles it up
        to `min_s` (for networks that take any length).
    hop_s : float, optional
        Distance between windows; by default one window, so that no sample is heard twice. The last window is moved
        back to end with the clip.
    min_s : float
        Shortest input under ``"native"``, in seconds.
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
        """First sample of each window.

        Arguments
        ---------
        n_samples, sample_rate_hz : int

        Returns
        -------
        list of int
            At least one.

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

    def cut(self, waveform, sample_rate_hz):
        """The windows of one clip.

        Arguments
        ---------
        waveform : torch.Tensor, shape (T,)
        sample_rate_hz : int

        Returns
        -------
        torch.Tensor, shape (n_windows, T_window)
        """
        window = round(self.window_s * sample_rate_hz)
        n_samples = waveform.shape[-1]
        if n_samples < window:
            if self.short == "pad":
                return torch.nn.functional.pad(waveform, (0, window - n_samples))[None]
            wanted = window if self.short == "tile" else max(n_samples, min(window, round(self.min_s * sample_rate_hz)))
            return waveform.repeat(-(-wanted // n_samples))[None, :wanted]
        return torch.stack([waveform[start : start + window] for start in self.starts(n_samples, sample_rate_hz)])


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
    return [_mono(clip, f"clip {index} of the batch") for index, clip in enumerate(clips)]


def _tensor(samples, source):
    try:
        return torch.as_tensor(samples)
    except (TypeError, ValueError, RuntimeError) as error:
        raise AudioError(source, f"is not an array of samples ({error}); read the file first") from error


def _mono(clip, source):
    if clip.numel() == 0:
        raise AudioError(source, "has no samples; leave it out or give its audio")
    if not clip.is_floating_point():
        # Unsigned PCM has its zero in the middle of its range.
        middle = 128 if clip.dtype == torch.uint8 else 0
        clip = (clip.to(torch.float32) - middle) / (128 if middle else torch.iinfo(clip.dtype).max + 1)
    clip = clip.to(torch.float32)
    if clip.ndim == 2:
        if clip.shape[0] > clip.shape[1]:
            raise AudioError(source, f"has shape {tuple(clip.shape)}; channels come first: (channels, samples)")
        clip = clip.mean(dim=0)
    if clip.ndim != 1:
        raise AudioError(source, f"has {clip.ndim} dimensions; a clip is (samples,) or (channels, samples)")
    if not torch.isfinite(clip).all():
        raise AudioError(source, "has NaN or infinite samples; the file or the code that made it is broken")
    return clip


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
    if not waveforms:
        raise AudioError("the batch", "holds no clip; give at least one")
    windows_by_length = {}
    for index, waveform in enumerate(waveforms):
        for window in policy.cut(waveform, sample_rate_hz):
            windows_by_length.setdefault(window.shape[-1], []).append((index, window))
    totals, counts = None, torch.zeros(len(waveforms))
    for windows in windows_by_length.values():
        for first in range(0, len(windows), batch_size):
            part = windows[first : first + batch_size]
            rows = forward(torch.stack([window for _, window in part]))
            rows = torch.nn.functional.normalize(rows, dim=-1) if normalize else rows
            if totals is None:
                totals, counts = rows.new_zeros(len(waveforms), rows.shape[-1]), counts.to(rows.device)
            owners = torch.tensor([index for index, _ in part], device=rows.device)
            totals.index_add_(0, owners, rows)
            counts.index_add_(0, owners, counts.new_ones(len(part)))
    means = totals / counts[:, None].to(totals.dtype)
    return torch.nn.functional.normalize(means, dim=-1) if normalize else means

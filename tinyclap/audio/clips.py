"""Audio inputs (paths, bytes, file objects, arrays, Hugging Face dicts) as mono float32 clips at a model's rate.

No torch.
"""

from __future__ import annotations

import numbers
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tinyclap.audio.io import MAX_SAMPLE, read_audio, require_rate
from tinyclap.audio.resample import resample_array, whole_hz
from tinyclap.audio.windows import mono
from tinyclap.errors import AudioError, ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MAX_CHANNELS = 64


class SupportsArray(Protocol):
    """Arrays of numpy, torch, jax …: anything with ``__array__``."""

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        """numpy's protocol."""


class SupportsRead(Protocol):
    """A file that is open for reading bytes."""

    def read(self, *args: Any, **kwargs: Any) -> bytes:
        """The bytes from its position on."""
        raise NotImplementedError


if TYPE_CHECKING:
    Recording = str | os.PathLike[str] | bytes | SupportsRead | Mapping[str, Any] | SupportsArray
    Audio = Recording | Iterable[Recording]


def as_clips(
    audio: Audio, to_hz: int, resampler: str, sample_rate_hz: float | None = None
) -> list[NDArray[np.float32]]:
    """Read and resample: a list of clips (T_i,) float32.

    Arguments
    ---------
    audio : As for :meth:`tinyclap.SoundModel.embed`.
    to_hz : int. The rate of the clips.
    resampler : {"sinc", "soxr"}
    sample_rate_hz : int or None. Of arrays; needed where there are any.

    Example
    -------
    >>> [clip.shape for clip in as_clips([np.zeros(8000), np.zeros((2, 400), np.int16)], 8000, "sinc", 16000)]
    [(4000,), (200,)]
    """
    clips, sources = [], as_sources(audio)
    if not sources:
        raise AudioError("the batch", "holds no clip; give at least one")
    for index, item in enumerate(sources):
        wav, from_hz = _read(item, f"clip {index} of the batch", sample_rate_hz)
        clips.append(resample_array(wav, from_hz, to_hz, resampler))
    return clips


def as_sources(audio: Audio) -> list[Any]:
    """One recording, or a batch (an array (B, T)), column or sequence of them, as a list of recordings.

    Example
    -------
    >>> as_sources("dog.wav"), len(as_sources(np.zeros((3, 800))))
    (['dog.wav'], 3)
    """
    is_stream = hasattr(audio, "read") or hasattr(audio, "get_all_samples")  # the latter: of Hugging Face datasets
    if is_stream or isinstance(audio, (str, os.PathLike, bytes, bytearray, memoryview, Mapping)):
        return [audio]
    if hasattr(audio, "__array__"):
        array = _array(audio, "the audio")
        if array.dtype.kind in "OUST" and (array.ndim < 2 or array.shape[1:] == (1,)):  # a column of a table
            items = array.reshape(-1).tolist()
            return as_sources([os.fsdecode(item) for item in items] if array.dtype.kind == "S" else items)
        if array.ndim < 2:
            return [array]
        if array.ndim == 2 and 0 < array.shape[1] <= min(_MAX_CHANNELS, array.shape[0] - 1):
            advice = "one recording of several channels is [x.T], a list of (channels, samples)"
            shape = f"has shape {array.shape}, as (samples, channels); a batch is (clips, samples)"
            raise AudioError("the audio", f"{shape}, and {advice}")
        return list(array)
    if not isinstance(audio, Iterable):
        raise AudioError("the audio", f"is {audio!r:.60}; give a path, an array of samples, or a list of them")
    sources = list(audio)
    are_numbers = [isinstance(item, numbers.Number) for item in sources]
    if any(are_numbers) and not all(are_numbers):
        place = are_numbers.index(True)
        problem = f"is {sources[place]!r}, no recording; leave it out, and give an array's rate as sample_rate_hz"
        raise AudioError(f"clip {place} of the batch", problem)
    return [_array(sources, "the audio")] if any(are_numbers) else sources  # samples, as JSON has them


def _no_recording(item, source):
    return AudioError(source, f"is {item!r:.60}, no recording; give a path, an array of samples, or leave it out")


def _read(item: Any, source: str, rate: float | None) -> tuple[NDArray[np.float32], int]:
    """One recording as mono float32 at its own rate."""
    if isinstance(item, Mapping):
        item, rate = _of_dict(item, source, rate)
    if hasattr(item, "get_all_samples"):
        decoded = item.get_all_samples()
        item, rate = decoded.data, decoded.sample_rate
    if isinstance(item, (str, os.PathLike)):
        return read_audio(item)
    if isinstance(item, (bytes, bytearray, memoryview)) or hasattr(item, "read"):
        try:
            return read_audio(item)
        except AudioError as error:
            raise AudioError(source, error.problem) from None
    samples = _array(item, source)
    if isinstance(item, numbers.Number) or samples.dtype.kind in "OSTU":
        raise _no_recording(item, source)
    _require_scale(samples, source)
    if rate is None:
        raise ConfigError("arrays say nothing of their sample rate; give sample_rate_hz")
    rate_hz: int = whole_hz(rate)
    require_rate(source, rate_hz)
    return mono(samples, _float32, source), rate_hz


def _of_dict(item: Mapping[str, Any], source: str, rate: float | None) -> tuple[Any, float | None]:
    """What a dict of Hugging Face datasets or pipelines holds, and its rate."""
    if item.get("audio") is not None:  # a row of a data set
        audio = item["audio"]
        return _of_dict(audio, source, rate) if isinstance(audio, Mapping) else (audio, rate)
    for key in ("array", "raw"):
        if item.get(key) is not None:
            return item[key], item.get("sampling_rate", rate)
    for key in ("bytes", "path"):
        if item.get(key) is not None:
            return item[key], rate
    advice = "give {'array': …, 'sampling_rate': …}, {'path': …} or {'bytes': …}"
    raise AudioError(source, f"is a dict of {', '.join(map(str, item)) or 'nothing'}; {advice}")


def _array(item: Any, source: str) -> NDArray[Any]:
    """As numpy.ndarray; tensors lose their gradient and their device."""
    try:
        if hasattr(item, "detach"):
            item = item.detach().cpu()
            item = item.float() if item.is_floating_point() else item
        array = np.asarray(item)
        return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
    except (TypeError, ValueError, RuntimeError) as error:
        raise AudioError(source, f"is not an array of samples ({error}); read the file first") from error


def _require_scale(samples: NDArray[Any], source: str) -> None:
    """Refuse samples whose full scale cannot be what their type says; others would be silence or noise to a model."""
    kind, n_bytes = samples.dtype.kind, samples.dtype.itemsize
    if not samples.size or kind not in "iuf":
        return
    advice = "give 16-bit samples as x.astype(numpy.int16), or floats in [-1, 1]"
    if kind in "iu" and n_bytes == 8:
        raise AudioError(source, f"has samples of {samples.dtype}, which no audio has; {advice}")
    if kind == "f":
        peak = float(np.max(np.abs(samples)))
        if MAX_SAMPLE < peak < np.inf:
            raise AudioError(source, f"has floats up to {peak:.6g}; floats are in [-1, 1]: divide by the full scale")
    # 24 bits in 32 are multiples of 256, however quiet
    elif samples.dtype == np.int32 and -(2**15) <= samples.min() and samples.max() < 2**15 and (samples & 255).any():
        raise AudioError(source, f"has 16-bit samples in {samples.dtype}, 96 dB too quiet; {advice}")


def _float32(array: NDArray[Any]) -> NDArray[np.float32]:
    return array.astype(np.float32, copy=False)

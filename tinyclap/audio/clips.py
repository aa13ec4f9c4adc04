"""What a user gives (paths, arrays) as mono float32 clips at a network's rate, the way torch does it. No torch."""

import os

import numpy as np

from tinyclap.audio.io import read_audio
from tinyclap.audio.sinc import resample_array
from tinyclap.audio.windows import mono
from tinyclap.errors import AudioError, ConfigError


def as_clips(audio, to_hz, resampler, sample_rate_hz=None):
    """Read and resample.

    Arguments
    ---------
    audio : str, os.PathLike, numpy.ndarray, or a sequence of them
        Recordings, or clips of shape (T,) or (channels, T), or a batch of shape (B, T): floats in [-1, 1], or integers.
    to_hz : int
        The rate that the network wants.
    resampler : {"sinc", "soxr", "banded"}
        How the rate is changed.
    sample_rate_hz : int or None
        Of arrays; needed where there are any.

    Returns
    -------
    list of numpy.ndarray, each of shape (T_i,), float32

    Raises
    ------
    AudioError
        A clip is empty, cannot be read, or has samples that are not finite; the message says which.
    ConfigError
        Arrays without a rate.

    Example
    -------
    >>> [clip.shape for clip in as_clips([np.zeros(800), np.zeros((2, 400), np.int16)], 8000, "sinc", 16000)]
    [(400,), (200,)]
    """
    return [
        _clip(item, f"clip {index} of the batch", to_hz, resampler, sample_rate_hz)
        for index, item in enumerate(as_sources(audio))
    ]


def as_sources(audio):
    """One recording or clip, or a batch or sequence of them, as a list of its paths and arrays.

    Arguments
    ---------
    audio : str, os.PathLike, numpy.ndarray, or an iterable of them
        See :func:`as_clips`.

    Returns
    -------
    list

    Example
    -------
    >>> as_sources("dog.wav"), len(as_sources(np.zeros((3, 800))))
    (['dog.wav'], 3)
    """
    if isinstance(audio, (str, os.PathLike)):
        return [audio]
    if hasattr(audio, "__array__"):
        audio = np.asarray(audio)
        return [audio] if audio.ndim == 1 else list(audio)
    return list(audio)


def _clip(item, source, to_hz, resampler, sample_rate_hz):
    if isinstance(item, (str, os.PathLike)):
        wav, from_hz = read_audio(item)
    else:
        try:
            samples = np.asarray(item)
        except (TypeError, ValueError) as error:
            raise AudioError(source, f"is not an array of samples ({error}); read the file first") from error
        wav, from_hz = mono(samples, _float32, source), sample_rate_hz
        if from_hz is None:
            raise ConfigError("arrays say nothing of their sample rate; give sample_rate_hz")
    return resample_array(wav, from_hz, to_hz, resampler)


def _float32(array):
    return array.astype(np.float32, copy=False)

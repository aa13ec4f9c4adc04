"""Parts of recordings as mono waveforms, from disk, memory or a folder of decoded clips."""

import time

import numpy as np

from tinyclap.audio.io import read_audio
from tinyclap.data.decoded_cache import DecodedCache, to_int16
from tinyclap.errors import ConfigError


class ClipReader:
    """Reads parts of clips as mono waveforms at `sample_rate_hz`; ``seconds`` is the time that it took in this process.

    Decoded clips are kept as 16-bit samples `in_memory` (5 s at 32 kHz take 0.3 MB), or in the folder `decoded_cache`
    (:class:`tinyclap.data.decoded_cache.DecodedCache`).
    """

    def __init__(self, sample_rate_hz, in_memory=False, decoded_cache=None):
        if in_memory and decoded_cache is not None:
            raise ConfigError("decoded clips are kept in memory or in a folder, not in both; leave one out")
        self.sample_rate_hz, self.in_memory = sample_rate_hz, in_memory
        self.seconds = 0.0
        self._kept = {}
        self._cache = None if decoded_cache is None else DecodedCache(decoded_cache, sample_rate_hz)

    def __call__(self, path, start_s=0.0, duration_s=None):
        """A part of a clip, to its end by default: numpy.ndarray, shape (T,), float32."""
        started = time.perf_counter()
        waveform = self._read(path, start_s, duration_s)
        self.seconds += time.perf_counter() - started
        return waveform

    def _read(self, path, start_s, duration_s):
        if not self.in_memory and self._cache is None:
            return read_audio(path, self.sample_rate_hz, start_s, duration_s)[0]
        samples = self._samples(path)
        first = round(start_s * self.sample_rate_hz)
        last = None if duration_s is None else first + round(duration_s * self.sample_rate_hz)
        return samples[first:last].astype(np.float32) / 32767

    def _samples(self, path):
        if self._cache is not None:
            return self._cache.samples(path)
        if path not in self._kept:
            self._kept[path] = to_int16(read_audio(path, self.sample_rate_hz)[0])
        return self._kept[path]

"""Parts of recordings as mono waveforms, from the files, from memory, or from a folder of decoded clips."""

import hashlib
import mmap
import os
from pathlib import Path

import numpy as np

from tinyclap.audio.io import probe, read_audio
from tinyclap.data.items import ItemTable
from tinyclap.errors import ConfigError
from tinyclap.files import atomic_path


class ClipReader:
    """Reads parts of clips as mono waveforms at `sample_rate_hz`, the `channels`' "mean" or (official tinyCLAP) "sum".

    Decoded clips are kept as 16-bit samples (5 s at 32 kHz take 0.3 MB) `in_memory`, after :meth:`reserve`, or in the
    folder `decoded_cache` (:class:`DecodedFolder`).
    """

    def __init__(self, sample_rate_hz, in_memory=False, decoded_cache=None, channels="mean"):
        if channels not in ("mean", "sum"):
            raise ConfigError(f"channels={channels!r}; choose mean | sum")
        if in_memory and decoded_cache is not None:
            raise ConfigError("decoded clips are kept in memory or in a folder, not in both; leave one out")
        self.sample_rate_hz, self.channels = sample_rate_hz, channels
        self.in_memory, self.decoded_cache = in_memory, decoded_cache
        self._kept = None if decoded_cache is None else DecodedFolder(decoded_cache, sample_rate_hz)

    def __call__(self, path, start_s=0.0, duration_s=None):
        """A part of a clip, to its end by default: numpy.ndarray, shape (T,), float32; sums may leave [−1, 1]."""
        if self._kept is None:
            mean = read_audio(path, self.sample_rate_hz, start_s, duration_s)[0]
        else:
            first = round(start_s * self.sample_rate_hz)
            last = None if duration_s is None else first + round(duration_s * self.sample_rate_hz)
            mean = self._kept.samples(str(path))[first:last].astype(np.float32) / 32767
        return mean if self.channels == "mean" else mean * np.float32(probe(path).n_channels)

    def at(self, sample_rate_hz):
        """A reader of the same kind at another rate."""
        return ClipReader(sample_rate_hz, self.in_memory, self.decoded_cache, self.channels)

    def reserve(self, items):
        """Share memory for `items` (id → item) with processes forked from now on: the first to read one decodes it."""
        if self.in_memory and items:
            places, end = {}, 0
            for item in items.values():  # a tenth of a second more than promised: durations are rounded
                begin, end = end, end + round((item["duration_s"] + 0.1) * self.sample_rate_hz)
                places.setdefault(str(item["wav"]), (len(places), begin, end))
            self._kept = _DecodedInMemory(ItemTable(places), end, self.sample_rate_hz)


class _DecodedInMemory:
    """Samples in anonymous shared memory, whose pages are taken when first written; else they are decoded each time."""

    def __init__(self, places, n_samples, sample_rate_hz):  # places: path → its number, its first and its last sample
        self.places, self.n_samples, self.sample_rate_hz = places, n_samples, sample_rate_hz
        n_lengths = len(places) + 1  # one for clips without a place
        try:
            memory = mmap.mmap(-1, 8 * n_lengths + 2 * n_samples)
        except OSError as error:
            raise ConfigError(
                f"{2 * n_samples / 1e9:.1f} GB of decoded clips do not fit into memory ({error}); keep them in a "
                "folder instead: --keep_audio_in_memory False --decoded_cache FOLDER"
            ) from error
        self._lengths = np.frombuffer(memory, np.int64, n_lengths)
        self._samples = np.frombuffer(memory, np.int16, offset=8 * n_lengths)

    def __reduce__(self):  # another process decodes for itself
        return _DecodedInMemory, (self.places, self.n_samples, self.sample_rate_hz)

    def samples(self, path):
        """All samples of a clip: int16 of shape (T,)."""
        number, begin, end = self.places.get(path, (-1, 0, 0))
        if self._lengths[number]:
            return self._samples[begin : begin + self._lengths[number]]
        samples = _decoded(path, self.sample_rate_hz)
        if len(samples) <= end - begin:
            self._samples[begin : begin + len(samples)] = samples
            self._lengths[number] = len(samples)  # last: another process reads it
        return samples


class DecodedFolder:
    """A `folder` of clips at `sample_rate_hz`, one file each, shared by runs and workers; 5 s at 32 kHz take 0.3 MB."""

    def __init__(self, folder, sample_rate_hz):
        self.folder, self.sample_rate_hz = Path(folder), sample_rate_hz

    def samples(self, path):
        """All samples of a clip: int16 of shape (T,), memory-mapped."""
        file = self.path_of(path)
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(file, flush=False) as part, open(part, "wb") as stream:
                np.save(stream, _decoded(path, self.sample_rate_hz))
        return np.load(file, mmap_mode="r")

    def path_of(self, path):
        """The file of a clip, by its path, size and modification time."""
        facts = os.stat(path)
        key = f"{os.path.abspath(path)} {facts.st_size} {facts.st_mtime_ns} {self.sample_rate_hz} soxr"
        name = hashlib.sha256(key.encode()).hexdigest()[:32]
        return self.folder / name[:2] / f"{name}.npy"


def _decoded(path, sample_rate_hz):
    """A whole clip as 16-bit samples; what is louder than full scale is clipped."""
    return np.round(read_audio(path, sample_rate_hz)[0].clip(-1, 1) * 32767).astype(np.int16)

"""Parts of recordings as mono waveforms, from the files, from memory, or from a folder of decoded clips."""

import hashlib
import mmap
import os
from pathlib import Path

import numpy as np

from tinyclap.audio.io import probe, read_audio
from tinyclap.data.items import NameIndex
from tinyclap.errors import ConfigError
from tinyclap.files import atomic_path


class ClipReader:
    """Reads parts of clips as mono waveforms at `sample_rate_hz`, the `channels`' "mean" or (official tinyCLAP) "sum".

    Decoded clips are kept as 16-bit samples `in_memory` (5 s at 32 kHz take 0.3 MB), which forked loader workers share
    after :meth:`reserve`, or in the folder `decoded_cache` (:class:`DecodedFolder`).
    """

    def __init__(self, sample_rate_hz, in_memory=False, decoded_cache=None, channels="mean"):
        if channels not in ("mean", "sum"):
            raise ConfigError(f"channels={channels!r}; choose mean | sum")
        if in_memory and decoded_cache is not None:
            raise ConfigError("decoded clips are kept in memory or in a folder, not in both; leave one out")
        self.sample_rate_hz, self.channels, self._options = (
            sample_rate_hz,
            channels,
            (in_memory, decoded_cache, channels),
        )
        self._kept = None if decoded_cache is None else DecodedFolder(decoded_cache, sample_rate_hz)
        if in_memory:
            self._kept = _DecodedInMemory({}, sample_rate_hz)

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
        return ClipReader(sample_rate_hz, *self._options)

    def reserve(self, items):
        """Share the memory of `items` (id → item with ``wav`` and ``duration_s``) with processes forked from now on.

        Whoever first needs a clip decodes it for all, so epochs and workers decode nothing anew.
        """
        if isinstance(self._kept, _DecodedInMemory) and items:
            durations_s = {str(item["wav"]): item["duration_s"] for item in items.values()}
            self._kept = _DecodedInMemory(durations_s, self.sample_rate_hz)


class _DecodedInMemory:
    """Samples in anonymous shared memory, whose pages are taken when first written, or else in this process' own."""

    def __init__(self, durations_s, sample_rate_hz):
        self._paths, self.sample_rate_hz, self._own = NameIndex(durations_s), sample_rate_hz, {}
        # a tenth of a second more than promised: durations are rounded
        room = [round((duration_s + 0.1) * sample_rate_hz) for duration_s in durations_s.values()]
        self._begins = np.cumsum([0, *room])
        n_bytes = 2 * int(self._begins[-1])
        try:
            # one sample and one clip more: an empty map is refused
            self._samples = np.frombuffer(mmap.mmap(-1, n_bytes + 2), dtype=np.int16)
            self._lengths = np.frombuffer(mmap.mmap(-1, 8 * len(room) + 8), dtype=np.int64)
        except OSError as error:
            raise ConfigError(
                f"{n_bytes / 1e9:.1f} GB of decoded clips do not fit into memory ({error}); keep them in a folder "
                "instead: --keep_audio_in_memory False --decoded_cache FOLDER"
            ) from error

    def __reduce__(self):
        return _DecodedInMemory, ({}, self.sample_rate_hz)  # another process decodes for itself

    def samples(self, path):
        """All samples of a clip: int16 of shape (T,)."""
        if path in self._own:
            return self._own[path]
        place = self._paths.position(path)
        begin, end = (0, 0) if place is None else self._begins[place : place + 2]
        if place is not None and self._lengths[place]:
            return self._samples[begin : begin + self._lengths[place]]
        samples = to_int16(read_audio(path, self.sample_rate_hz)[0])
        if len(samples) > end - begin:
            self._own[path] = samples
        else:
            self._samples[begin : begin + len(samples)] = samples
            self._lengths[place] = len(samples)  # last: another process reads it
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
                np.save(stream, to_int16(read_audio(path, self.sample_rate_hz)[0]))
        return np.load(file, mmap_mode="r")

    def path_of(self, path):
        """The file of a clip, by its path, size and modification time."""
        facts = os.stat(path)
        key = f"{os.path.abspath(path)} {facts.st_size} {facts.st_mtime_ns} {self.sample_rate_hz} soxr"
        name = hashlib.sha256(key.encode()).hexdigest()[:32]
        return self.folder / name[:2] / f"{name}.npy"


def to_int16(waveform):
    """A waveform in [−1, 1] as 16-bit samples; louder ones are clipped.

    Example
    -------
    >>> to_int16(np.array([0.5, -2.0])).tolist()
    [16384, -32767]
    """
    return np.round(waveform.clip(-1, 1) * 32767).astype(np.int16)

"""How quick a model is on this machine: one pass, whole clips, many clips, and the first answer of a new process.

Exported folders are timed without torch. Times are of a machine with whatever else runs on it: the load is written
beside them, and of repeated passes the median and the least.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

from tinyclap.audio.cpu import instructions, n_cores, processor
from tinyclap.checkpoints.exported import checked_file, read_config
from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.inference.pretrained import find_folder, from_pretrained

_RATE_HZ, _CLIP_S = 44100, 5.0  # of the recording that is read from disk
_LABELS = ["dog barking", "rain", "siren"]
_LIBRARIES = ("numpy", "soxr", "soundfile", "onnxruntime", "openvino", "torch")
# The first answer of a new process: what a person waits for who types a command.
_CHILD = """
import json, pathlib, re, resource, sys, time
start = time.perf_counter()
import tinyclap
asked = json.loads(sys.argv[1])
model = tinyclap.from_pretrained(asked["source"], local_files_only=True, n_threads=asked["n_threads"])
opened = time.perf_counter()
if model.kind == "captioner":
    model.caption(asked["path"])
elif asked["labels"] is None:
    model.embed(asked["path"])
else:
    model.classify(asked["path"], labels=asked["labels"] or None)
answered = time.perf_counter()
status = pathlib.Path("/proc/self/status")
if status.is_file():  # getrusage would count the memory of the process that started this one
    peak = int(re.search(r"VmHWM:\\s*(\\d+)", status.read_text())[1]) / 1024
else:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(json.dumps({"open_ms": 1e3 * (opened - start), "answer_ms": 1e3 * (answered - opened), "peak_mb": peak}))
"""


@dataclass
class BenchOptions:
    """What to measure.

    Arguments
    ---------
    lengths_s : sequence of float
        Lengths of the clips of single passes, in seconds.
    threads : sequence of int
        Threads of a pass; those beyond the cores are left out.
    engines, precisions : sequence of str
        Of single passes; empty for all that are installed, and all that the folder has.
    n_repeats : int
        Passes that count.
    n_clips : int
        Clips of 5 s in the measurement of many.
    n_starts : int
        New processes; 0 leaves the cold start out.
    """

    lengths_s: tuple = (1.0, 5.0, 10.0)
    threads: tuple = (1, 2)
    engines: tuple = ()
    precisions: tuple = ()
    n_repeats: int = 9
    n_clips: int = 64
    n_starts: int = 3

    def __post_init__(self):
        numbers = (*self.lengths_s, *self.threads, self.n_repeats, self.n_clips)
        if not self.lengths_s or not self.threads or min(numbers) <= 0 or self.n_starts < 0:
            raise ConfigError("lengths, threads, repeats and clips are above zero; starts are zero or more")


def bench(source, options=None, revision=None, local_files_only=False):
    """Measure a model.

    Arguments
    ---------
    source : str or os.PathLike
        As for :func:`tinyclap.from_pretrained`.
    options : BenchOptions, optional
    revision : str or None
    local_files_only : bool

    Returns
    -------
    dict
        ``model``, ``kind``, ``machine``; ``passes``: rows of ``clip_s``, ``engine``, ``precision``, ``n_threads``,
        ``median_ms``, ``least_ms``, ``greatest_ms``, ``real_time_factor`` (time by duration: 0.01 is a hundred times
        quicker than the sound); ``recording``: a stereo file of 44.1 kHz from disk to result; ``many``: clips a
        second; ``cold_start``: a new process to its first answer, and its peak memory.

    Raises
    ------
    ConfigError, CheckpointError, DownloadError
        As :func:`tinyclap.from_pretrained`; or nothing is left of what was asked for.
    """
    options = options or BenchOptions()
    folder = find_folder(source, revision, local_files_only)
    model = from_pretrained(folder)
    is_exported = "graphs" in model.config
    passes = _exported_passes(folder, options) if is_exported else _torch_passes(model, options)
    if not passes:
        raise ConfigError(
            f"{source}: nothing to time among engines {', '.join(options.engines) or 'installed'}, precisions "
            f"{', '.join(options.precisions) or 'there'} and threads {', '.join(map(str, options.threads))} "
            f"on {n_cores()} cores"
        )
    report = {"model": str(source), "kind": model.kind, "machine": machine(), "passes": passes}
    with tempfile.TemporaryDirectory() as scratch:
        path = _recording(Path(scratch) / "clip.wav")
        report |= {"recording": _time_recording(model, path, options), "many": _time_many(model, options)}
        if options.n_starts:
            report["cold_start"] = _time_starts(model, folder, path, options)
    return report


def machine():
    """What computes: a dict of ``processor``, ``instructions``, ``n_cores``, ``memory_mb``, ``load``, ``versions``."""
    versions = {"python": sys.version.split()[0]}
    for library in _LIBRARIES:
        try:
            versions[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            versions[library] = None
    return {
        "processor": processor(),
        "instructions": instructions(),
        "n_cores": n_cores(),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20 if hasattr(os, "sysconf") else None,
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "versions": versions,
    }


def _exported_passes(folder, options):
    """Single passes of the main graph of an exported folder, in every engine and precision."""
    from tinyclap.export.latency import measure_latencies

    config = read_config(folder)
    names = {key: config["graphs"][key] for key in ("fp32", "int8") if key in config["graphs"]}
    # bf16 is made from the fp32 file
    kept = {key for key in names if not options.precisions or key in options.precisions}
    kept |= {"fp32"} if "bf16" in options.precisions else set()
    graphs = {key: checked_file(folder, config, name) for key, name in names.items() if key in kept}
    front_end = config["graphs"].get("front_end")
    front_end = None if front_end is None else checked_file(folder, config, front_end)
    rows = []
    for clip_s in options.lengths_s if graphs else ():
        found = measure_latencies(
            graphs, config["sample_rate_hz"], clip_s, options.threads, options.n_repeats, front_end=front_end
        )
        rows += [_with_factor(row, clip_s) for row in found["rows"]]
    return [row for row in rows if _is_wanted(row, options)]


def _is_wanted(row, options):
    return (not options.engines or row["engine"] in options.engines) and (
        not options.precisions or row["precision"] in options.precisions
    )


def _torch_passes(model, options):
    """Single passes of a checkpoint, in torch."""
    import torch

    from tinyclap.metrics.cost import measure_latency

    network = getattr(model.backend, "audio", None)
    if network is None:
        raise CheckpointError(f"{model.name}: passes of a captioner are timed when it is exported: tinyclap export")
    rows = []
    for clip_s in options.lengths_s:
        clip = torch.from_numpy(_noise(model.sample_rate_hz, clip_s))
        for n_threads in (number for number in options.threads if number <= n_cores()):
            found = measure_latency(network, clip, n_repeats=options.n_repeats, n_threads=n_threads)
            row = {"engine": "torch", "precision": "fp32", "n_threads": n_threads, "median_ms": found["median_ms"]}
            rows.append(_with_factor(row | {"least_ms": found["p10_ms"], "greatest_ms": found["p90_ms"]}, clip_s))
    return [row for row in rows if _is_wanted(row, options)]


def _with_factor(row, clip_s):
    rounded = {name: round(value, 3) if isinstance(value, float) else value for name, value in row.items()}
    return {"clip_s": clip_s, **rounded, "real_time_factor": round(row["median_ms"] / 1e3 / clip_s, 6)}


def _answer(model, audio, sample_rate_hz=None):
    """What a user of this kind of model asks for."""
    if model.kind == "captioner":
        return model.caption(audio, sample_rate_hz)
    return model.embed(audio, sample_rate_hz, progress=False)


def _time_recording(model, path, options):
    """From a file on disk to the result: decoding, mono, resampling, windows, network."""
    times_ms = _times_ms(lambda: _answer(model, str(path)), options.n_repeats)
    return {"what": f"WAV, stereo, {_RATE_HZ} Hz, {_CLIP_S:g} s", "median_ms": statistics.median(times_ms)}


def _time_many(model, options):
    """Clips that are in memory, at the model's rate, in one call."""
    clips = list(_noise(model.sample_rate_hz, _CLIP_S, options.n_clips))
    _answer(model, clips[:1], model.sample_rate_hz)
    start = time.perf_counter()
    _answer(model, clips, model.sample_rate_hz)
    taken_s = time.perf_counter() - start
    return {
        "n_clips": options.n_clips,
        "clip_s": _CLIP_S,
        "clips_per_s": round(options.n_clips / taken_s, 2),
        "real_time_factor": round(taken_s / options.n_clips / _CLIP_S, 6),
    }


def _times_ms(work, n_repeats, n_warmup=2):
    taken = []
    for turn in range(n_warmup + n_repeats):
        start = time.perf_counter()
        work()
        if turn >= n_warmup:
            taken.append(1e3 * (time.perf_counter() - start))
    return taken


def _time_starts(model, folder, path, options):
    """New processes, each to its first answer: from the start of Python to its end."""
    labels = _LABELS if "text" in model.config else ([] if model.labels else None)
    n_threads = max(number for number in options.threads) if "graphs" in model.config else None
    asked = json.dumps({"source": str(folder), "path": str(path), "labels": labels, "n_threads": n_threads})
    runs = []
    for _ in range(options.n_starts):
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", _CHILD, asked], capture_output=True, text=True, check=False)
        taken_ms = 1e3 * (time.perf_counter() - start)
        if done.returncode:
            raise CheckpointError(f"{folder}: a new process cannot use it: {done.stderr.strip().splitlines()[-1]}")
        runs.append({"whole_ms": taken_ms, **json.loads(done.stdout.splitlines()[-1])})
    naming = "classify with free text" if labels else "classify with its own labels"
    what = "caption" if model.kind == "captioner" else "embed" if labels is None else naming
    return {
        "what": what,
        "n_starts": options.n_starts,
        **{key: round(statistics.median(run[key] for run in runs), 1) for key in runs[0]},
        "least_whole_ms": round(min(run["whole_ms"] for run in runs), 1),
    }


def _noise(sample_rate_hz, clip_s, n_clips=1):
    """Quiet noise: (n_clips, T) float32, the same each time."""
    shape = (n_clips, round(sample_rate_hz * clip_s))
    return np.random.default_rng(0).uniform(-0.1, 0.1, shape).astype(np.float32)


def _recording(path):
    """A WAV of two channels, 16 bits."""
    import wave

    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(_RATE_HZ)
        file.writeframes((_noise(_RATE_HZ, 2 * _CLIP_S)[0] * 32767).astype("<i2").tobytes())
    return path

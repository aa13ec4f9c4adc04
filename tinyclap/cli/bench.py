"""Latency and throughput of a model on this machine: single passes, whole clips, many clips, and a cold start."""

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
from tinyclap.checkpoints.folder import checked_file, read_export
from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.inference.pretrained import find_folder, from_pretrained

_RATE_HZ, _CLIP_S = 44100, 5.0  # of the recording that is read from disk
_LABELS = ["dog barking", "rain", "siren"]
_LIBRARIES = ("numpy", "soxr", "soundfile", "onnxruntime", "openvino", "torch")
_CHILD = """
import json, sys, time
start = time.perf_counter()
import tinyclap
source, path, labels, n_threads, imports = json.loads(sys.argv[1])
model = tinyclap.from_pretrained(source, local_files_only=True, n_threads=n_threads, imports=imports)
opened = time.perf_counter()
if model.kind == "captioner":
    model.caption(path)
elif labels is None:
    model.embed(path)
else:
    model.classify(path, labels or None)
answered = time.perf_counter()
from tinyclap.cli.bench import peak_memory_mb
times = {"open_ms": 1e3 * (opened - start), "answer_ms": 1e3 * (answered - opened), "peak_mb": peak_memory_mb()}
print(json.dumps(times))
"""


@dataclass
class BenchOptions:
    """What to measure."""

    lengths_s: tuple = (1.0, 5.0, 10.0)  # of single passes
    threads: tuple = (1, 2)  # more than there are cores are left out
    engines: tuple = ()  # empty for all that are installed
    precisions: tuple = ()  # empty for all of the model
    n_repeats: int = 9  # passes that count
    n_clips: int = 64  # for the throughput
    n_starts: int = 3  # new processes; 0 leaves the cold start out
    imports: tuple = ()  # modules of one's own that the model needs

    def __post_init__(self):
        numbers = (*self.lengths_s, *self.threads, self.n_repeats, self.n_clips)
        if not self.lengths_s or not self.threads or not min(numbers) > 0 or self.n_starts < 0:
            raise ConfigError("lengths, threads, repeats and clips are above zero; starts are zero or more")


def bench(source, options=None, revision=None, local_files_only=False):
    """Measure a model: a dict of ``model``, ``kind``, ``machine``, and these.

    ``passes``: rows of ``clip_s``, ``engine``, ``precision``, ``n_threads``, ``median_ms``, ``least_ms``,
    ``greatest_ms``, ``real_time_factor`` (time divided by duration); ``recording``: from a file on disk to the result;
    ``many``: throughput; ``cold_start``: a new process to its first answer.

    Arguments
    ---------
    source, revision, local_files_only : As for :func:`tinyclap.from_pretrained`.
    options : BenchOptions, optional
    """
    import soundfile

    options = options or BenchOptions()
    folder = find_folder(source, revision, local_files_only)
    model = from_pretrained(folder, imports=options.imports)
    rows = _exported_passes(folder, options) if "graphs" in model.config else _torch_passes(model, options)
    wanted = {"engine": options.engines, "precision": options.precisions}
    rows = [row for row in rows if all(not names or row[key] in names for key, names in wanted.items())]
    if not rows:
        engines, precisions = ", ".join(options.engines) or "installed", ", ".join(options.precisions) or "there"
        threads = f"threads {', '.join(map(str, options.threads))} on {n_cores()} cores"
        among = f"engines {engines}, precisions {precisions} and {threads}"
        raise ConfigError(f"{source}: nothing to time among {among}")
    report = {"model": str(source), "kind": model.kind, "machine": machine(), "passes": rows}
    with tempfile.TemporaryDirectory() as scratch:
        path = str(Path(scratch) / "clip.wav")
        soundfile.write(path, _noise(_RATE_HZ, 2 * _CLIP_S).reshape(-1, 2), _RATE_HZ, subtype="PCM_16")
        times_ms = _times_ms(lambda: _answer(model, path), options.n_repeats)
        what = f"WAV, stereo, {_RATE_HZ} Hz, {_CLIP_S:g} s"
        report["recording"] = {"what": what, "median_ms": statistics.median(times_ms)}
        report["many"] = _throughput(model, options.n_clips)
        if options.n_starts:
            report["cold_start"] = _cold_start(model, folder, path, options)
    return report


def machine():
    """CPU, memory in MB, load, and versions of the libraries: dict."""
    versions = {name: next((each.version for each in metadata.distributions(name=name)), None) for name in _LIBRARIES}
    is_unix = hasattr(os, "sysconf")
    return {
        "processor": processor(),
        "instructions": instructions(),
        "n_cores": n_cores(),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20 if is_unix else None,
        "load": round(os.getloadavg()[0], 2) if is_unix else None,
        "versions": {"python": sys.version.split()[0], **versions},
    }


def peak_memory_mb():
    """Peak resident memory of this process, in MB; None where the system does not tell."""
    status = Path("/proc/self/status")
    if status.is_file():  # getrusage would count the memory of the process that started this one
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _exported_passes(folder, options):
    """Single passes of the main graph of an exported folder, in every engine and precision."""
    from tinyclap.export.latency import measure_latencies

    config = read_export(folder)
    # bf16 is made from the fp32 file
    wanted = {"fp32" if name == "bf16" else name for name in options.precisions or ("fp32", "int8")}
    wanted |= {"front_end"}
    graphs = {key: checked_file(folder, config, name) for key, name in config["graphs"].items() if key in wanted}
    front_end, rate_hz = graphs.pop("front_end", None), config["sample_rate_hz"]
    for clip_s in options.lengths_s if graphs else ():
        found = measure_latencies(graphs, rate_hz, clip_s, options.threads, options.n_repeats, front_end=front_end)
        yield from (_with_factor(row, clip_s) for row in found["rows"])


def _torch_passes(model, options):
    """Single passes of a checkpoint, in torch."""
    import torch

    from tinyclap.metrics.cost import measure_latency

    network = getattr(model.backend, "audio", None)
    if network is None:
        raise CheckpointError(f"{model.name}: passes of a captioner are timed when it is exported: tinyclap export")
    for clip_s in options.lengths_s:
        clip = torch.from_numpy(_noise(model.sample_rate_hz, clip_s))
        for n_threads in (number for number in options.threads if number <= n_cores()):
            found = measure_latency(network, clip, n_repeats=options.n_repeats, n_threads=n_threads)
            row = {"engine": "torch", "precision": "fp32", "n_threads": n_threads, "median_ms": found["median_ms"]}
            yield _with_factor(row | {"least_ms": found["p10_ms"], "greatest_ms": found["p90_ms"]}, clip_s)


def _with_factor(row, clip_s):
    rounded = {name: round(value, 3) if isinstance(value, float) else value for name, value in row.items()}
    return {"clip_s": clip_s, **rounded, "real_time_factor": round(row["median_ms"] / 1e3 / clip_s, 6)}


def _answer(model, audio, sample_rate_hz=None):
    """The result of this kind of model."""
    if model.kind == "captioner":
        return model.caption(audio, sample_rate_hz)
    return model.embed(audio, sample_rate_hz, progress=False)


def _throughput(model, n_clips):
    """Clips in memory, at the model's rate, in one call."""
    clips = list(_noise(model.sample_rate_hz, _CLIP_S, n_clips))
    _answer(model, clips[:1], model.sample_rate_hz)
    (taken_ms,) = _times_ms(lambda: _answer(model, clips, model.sample_rate_hz), 1, 0)
    per_s, factor = 1e3 * n_clips / taken_ms, round(taken_ms / 1e3 / n_clips / _CLIP_S, 6)
    return {"n_clips": n_clips, "clip_s": _CLIP_S, "clips_per_s": round(per_s, 2), "real_time_factor": factor}


def _times_ms(work, n_repeats, n_warmup=2):
    taken = []
    for _ in range(n_warmup + n_repeats):
        start = time.perf_counter()
        work()
        taken.append(1e3 * (time.perf_counter() - start))
    return taken[n_warmup:]


def _cold_start(model, folder, path, options):
    """New processes, each to its first answer: from the start of Python to its end."""
    labels = _LABELS if "text" in model.config else ([] if model.labels else None)
    n_threads = max(options.threads) if "graphs" in model.config else None
    command = [sys.executable, "-c", _CHILD, json.dumps([str(folder), str(path), labels, n_threads, options.imports])]
    runs = []
    for _ in range(options.n_starts):
        start = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        taken_ms = 1e3 * (time.perf_counter() - start)
        if done.returncode:
            raise CheckpointError(f"{folder}: a new process cannot use it: {done.stderr.strip().splitlines()[-1]}")
        runs.append({"whole_ms": taken_ms, **json.loads(done.stdout.splitlines()[-1])})
    classifies = "classify with free text" if labels else "classify with its own labels"
    what = "caption" if model.kind == "captioner" else "embed" if labels is None else classifies
    medians = {key: statistics.median(run[key] for run in runs) for key in runs[0] if runs[0][key] is not None}
    times = medians | {"least_whole_ms": min(run["whole_ms"] for run in runs)}
    return {"what": what, "n_starts": options.n_starts, **{key: round(value, 1) for key, value in times.items()}}


def _noise(sample_rate_hz, clip_s, n_clips=1):
    """Quiet noise: (n_clips, T) float32, the same each time."""
    return np.random.default_rng(0).uniform(-0.1, 0.1, (n_clips, round(sample_rate_hz * clip_s))).astype(np.float32)

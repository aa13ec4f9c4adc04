"""Latency of one window in each engine and precision, on the machine that exports."""

import importlib.util
import itertools
import platform
import statistics
import time

import numpy as np

from tinyclap.audio.cpu import n_cores
from tinyclap.runtime.session import ENGINES, has_bf16, open_session

COLUMNS = ("engine", "precision", "n_threads", "median_ms", "least_ms", "greatest_ms")
_FASTER = 0.9  # int8 is named the best precision only where it takes less than this share of fp32's time


def measure_latencies(graphs, sample_rate_hz, clip_s, threads=(1, 2), n_repeats=9, n_warmup=5, front_end=None):
    """Time graphs from waveform to outputs, batch 1, in turns: dict with ``rows``, each a dict of :data:`COLUMNS`.

    Arguments
    ---------
    graphs : dict of str to path. Precision ("fp32", "int8") to the graph with its input ``wavs``.
    sample_rate_hz : int
    clip_s : float. Length of the clip, in seconds.
    threads : sequence of int. Those beyond this machine's cores are left out.
    n_repeats, n_warmup : int. Rounds that count, and rounds before them.
    front_end : path, optional. See :func:`tinyclap.runtime.session.open_session`.
    """
    wavs = np.random.default_rng(0).uniform(-0.1, 0.1, (1, round(clip_s * sample_rate_hz))).astype(np.float32)
    rows = []
    for n_threads in (number for number in threads if number <= n_cores()):
        sessions = dict(_sessions(graphs, n_threads, front_end))
        times_ms = {key: [] for key in sessions}
        for turn, (key, session) in itertools.product(range(n_warmup + n_repeats), sessions.items()):
            start = time.perf_counter()
            session.run({"wavs": wavs})
            if turn >= n_warmup:
                times_ms[key].append(1e3 * (time.perf_counter() - start))
        for (engine, precision), taken in times_ms.items():
            times = [round(value, 3) for value in (statistics.median(taken), min(taken), max(taken))]
            rows.append(dict(zip(COLUMNS, [engine, precision, n_threads, *times], strict=True)))
    return {"clip_s": clip_s, "machine": platform.machine(), "n_cores": n_cores(), "n_repeats": n_repeats, "rows": rows}


def _sessions(graphs, n_threads, front_end):
    """Every way that is installed here: ((engine, precision), session)."""
    for engine in (name for name in ENGINES if importlib.util.find_spec(name)):
        for precision, path in graphs.items():
            yield ((engine, precision), open_session(path, engine, precision, n_threads, front_end))
        if engine == "openvino" and "fp32" in graphs and has_bf16():
            yield ((engine, "bf16"), open_session(graphs["fp32"], engine, "bf16", n_threads, front_end))


def best_precisions(latencies, precisions):
    """For each engine, what "auto" stands for by `latencies`: int8 where among `precisions` and clearly faster."""
    best = {}
    for engine in ENGINES:
        total = {}
        for row in latencies["rows"]:
            if row["engine"] == engine and row["precision"] in precisions:
                total[row["precision"]] = total.get(row["precision"], 0.0) + row["median_ms"]
        faster = "int8" in total and total["int8"] < _FASTER * total["fp32"]
        best[engine] = "int8" if faster else "fp32"
    return best


def table(latencies):
    """The rows as a Markdown table, as a string."""
    lines = ["| engine | precision | threads | ms (median) | least | greatest |", "|---|---|---|---|---|---|"]
    for row in latencies["rows"]:
        lines.append("| " + " | ".join(str(row[name]) for name in COLUMNS) + " |")
    return "\n".join(lines) + "\n"

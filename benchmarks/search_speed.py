"""How quick a search index is: indexing beside the bare network, opening, queries one by one and together.

Rows are mixtures of two of the recordings' rows, with noise on the roots of the probabilities. Queries are the
recordings' own rows with such noise (sounds), and the model's label embeddings (texts). The model runs on one thread,
the queries on numpy's (OMP_NUM_THREADS).

    python benchmarks/search_speed.py --recordings /data/ESC-50-master/audio --rows 100000 1000000
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tinyclap  # noqa: E402
from tinyclap.audio.batch import each_clip  # noqa: E402
from tinyclap.audio.clips import as_clips  # noqa: E402
from tinyclap.audio.find import find_recordings  # noqa: E402
from tinyclap.search.database import Database, Recording  # noqa: E402
from tinyclap.search.index import SearchIndex, model_identity  # noqa: E402

_K, _N_QUERIES, _CHUNK = 10, 50, 1024  # rows of a transaction, as an update writes them
_OPEN = """
import sys, time
sys.path.insert(0, sys.argv[2])
from tinyclap.search.index import SearchIndex
start = time.perf_counter()
print(SearchIndex.open(sys.argv[1]), time.perf_counter() - start)
"""


def main():
    """Measure, print, and write a JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", nargs="+", required=True, help="recordings and folders of them")
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000], help="sizes of index")
    parser.add_argument("--model", default="tinyclap-phinet-m")
    parser.add_argument("--output", default="benchmarks/results/search_speed.json")
    parser.add_argument("--scratch", help="where indexes are written (default: the system's temporary folder)")
    options = parser.parse_args()
    model = tinyclap.from_pretrained(options.model, n_threads=1)
    paths = list(find_recordings(options.recordings))
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        result = {"machine": machine(), "model": model.name, "dimensions": model.embed_dim, "k": _K}
        result["indexing"] = indexing(model, paths, Path(scratch) / "real")
        base = np.sqrt(model.embed(paths)) if model.score_kind == "sqrt_dot" else model.embed(paths)
        result["sizes"] = []
        for n_rows in options.rows:
            size = of_size(model, base, n_rows, Path(scratch) / str(n_rows))
            result["sizes"].append(size)
            print(json.dumps(size), flush=True)
            # each size may take minutes: what is measured is kept
            output = Path(options.output)
            output.parent.mkdir(parents=True, exist_ok=True)
            output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(docs_table(options.output))


def machine():
    """What it was measured on."""
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
        "load_before": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def indexing(model, paths, folder):
    """Clips per second of one worker: index from files, an update without changes, and the network alone."""
    start = time.perf_counter()
    SearchIndex.build(folder, model, paths, n_workers=1, progress=False)
    build_s = time.perf_counter() - start
    start = time.perf_counter()
    SearchIndex.build(folder, model, paths, n_workers=1, progress=False)
    update_s = time.perf_counter() - start
    backend, some = model.backend, paths[:: max(1, len(paths) // 200)]
    windows = [
        backend.policy.cut(clip, model.sample_rate_hz)
        for clip in as_clips(some, model.sample_rate_hz, backend.config["resampler"])
    ]
    backend.embed_windows(windows[0])
    start = time.perf_counter()
    n_done = sum(1 for _ in each_clip(backend.embed_windows, windows, n_workers=1))
    network_s = (time.perf_counter() - start) / n_done
    print(f"indexing {len(paths) / build_s:.0f} clips/s, bare network {1 / network_s:.0f}, update {update_s:.2f} s")
    return {
        "n_clips": len(paths),
        "clips_per_s": round(len(paths) / build_s, 1),
        "bare_network_clips_per_s": round(1 / network_s, 1),
        "update_without_changes_s": round(update_s, 3),
    }


def of_size(model, base, n_rows, folder):
    """Times of an index with so many rows."""
    database, generator = Database.create(folder, model_identity(model)), np.random.default_rng(0)
    start = time.perf_counter()
    for first in range(0, n_rows, _CHUNK):
        rows = mixtures(base, min(_CHUNK, n_rows - first), generator)
        names = [f"/data/{first + row:08d}.wav" for row in range(len(rows))]
        database.write([(Recording(name, "/data", "1", 1, 1), row) for name, row in zip(names, rows, strict=True)])
    written_s = time.perf_counter() - start
    index, queries = SearchIndex.open(folder), query_rows(model, base, generator)
    start = time.perf_counter()
    index.nearest(queries["text"][:1], _K, False)
    found = {
        "n_rows": n_rows,
        "written_s": round(written_s, 2),
        "first_query_s": round(time.perf_counter() - start, 2),
        "bytes": sum(path.stat().st_size for path in folder.iterdir()),
        "open_ms": open_ms(folder),
    }
    for kind, rows in queries.items():
        found[kind] = {"one_ms": query_ms(index, rows, kind == "sound")}
        found[kind]["of_50_together_ms"] = together_ms(index, rows, kind == "sound")
    return found


def mixtures(base, n_rows, generator):
    """Rows (n, D) between two of the base rows each, with noise."""
    share = generator.random((n_rows, 1), dtype=np.float32)
    rows = share * base[generator.integers(len(base), size=n_rows)]
    rows += (1 - share) * base[generator.integers(len(base), size=n_rows)]
    return rows * np.exp(0.2 * generator.standard_normal(rows.shape, dtype=np.float32))


def query_rows(model, base, generator):
    """Rows of queries by kind."""
    sounds = base[generator.permutation(len(base))[:_N_QUERIES]]
    texts = model.label_vectors()[1]
    return {
        "text": texts[generator.permutation(len(texts))[:_N_QUERIES]],
        "sound": sounds * np.exp(0.2 * generator.standard_normal(sounds.shape, dtype=np.float32)),
    }


def query_ms(index, rows, is_sound):
    """Time of the quickest of the queries, one by one: a busy machine makes others slower."""
    times = []
    for row in rows:
        start = time.perf_counter()
        index.nearest(row[None], _K, is_sound)
        times.append(time.perf_counter() - start)
    return round(1e3 * min(times), 2)


def together_ms(index, rows, is_sound):
    """Time of a query among many in one call."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        index.nearest(rows, _K, is_sound)
        times.append(time.perf_counter() - start)
    return round(1e3 * min(times) / len(rows), 2)


def docs_table(path):
    """The written JSON as a Markdown table."""
    result = json.loads(Path(path).read_text(encoding="utf-8"))
    indexing, machine, lines = result["indexing"], result["machine"], []
    for size in result["sizes"]:
        text, sound = size["text"], size["sound"]
        lines.append(
            f"| {size['n_rows']:,} | {size['bytes'] / 1e6:,.0f} MB | {size['first_query_s']} s | "
            f"{size['open_ms']} ms | {text['one_ms']} ms | {sound['one_ms']} ms | {text['of_50_together_ms']} ms |"
        )
    return "\n".join(
        [
            f"Indexing {indexing['n_clips']} clips from files: {indexing['clips_per_s']} clips/s with one worker; the",
            f"network alone, on ready windows: {indexing['bare_network_clips_per_s']}. An update without changes:",
            f"{indexing['update_without_changes_s']} s. Queries for the best {result['k']}, exact, the quickest of 50.",
            f"{machine['cores']} cores, OMP_NUM_THREADS={machine['threads']}, load {machine['load_before']} before.",
            "",
            "| recordings | disk | first query after a change | open | a text | a sound | of 50 texts together, each |",
            "|---|---|---|---|---|---|---|",
            *lines,
        ]
    )


def open_ms(folder):
    """Median time to open an index in a new process."""
    command = [sys.executable, "-c", _OPEN, str(folder), str(Path(__file__).resolve().parents[1])]
    times = [
        float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1]) for _ in "abc"
    ]
    return round(1e3 * float(np.median(times)), 1)


if __name__ == "__main__":
    main()

"""How quick a search index is: indexing beside the bare network, opening, exact and approximate queries, their recall.

Rows are mixtures of two of the recordings' rows, with noise on the roots of the probabilities. Queries are the
recordings' own rows with such noise (sounds), and the vectors of the model's labels (texts). One thread.

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
from tinyclap.audio.batch import (
    as_clips,  # noqa: E402
    each_clip,  # noqa: E402
)
from tinyclap.audio.find import find_recordings  # noqa: E402
from tinyclap.search import nearest  # noqa: E402
from tinyclap.search.folder import IndexFolder  # noqa: E402
from tinyclap.search.index import SearchIndex, index_identity  # noqa: E402

_K, _N_QUERIES, _CHUNK = 10, 50, 131072
_OPEN = """
import sys, time
sys.path.insert(0, sys.argv[2])
from tinyclap.search.index import SearchIndex
start = time.perf_counter()
print(len(SearchIndex.open(sys.argv[1])), time.perf_counter() - start)
"""


def main():
    """Measure, print, and write a JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", nargs="+", required=True, help="recordings and folders of them")
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000], help="sizes of index")
    parser.add_argument("--graph_up_to", type=int, default=100_000, help="largest index that gets a graph too")
    parser.add_argument("--model", default="tinyclap-phinet-m")
    parser.add_argument("--output", default="benchmarks/results/search_speed.json")
    parser.add_argument("--scratch", help="where indexes are written (default: the system's temporary folder)")
    options = parser.parse_args()
    model = tinyclap.from_pretrained(options.model, n_threads=1)
    paths = list(find_recordings(options.recordings))
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        result = {"machine": machine(), "model": model.name, "dimensions": model.embed_dim, "k": _K}
        result["indexing"] = indexing(model, paths, Path(scratch) / "real")
        real = SearchIndex.open(Path(scratch) / "real")._files
        base = np.concatenate([part.rows for part in real.parts]).astype(np.float32)
        result["sizes"] = []
        for n_rows in options.rows:
            size = of_size(model, base, n_rows, Path(scratch) / str(n_rows), n_rows <= options.graph_up_to)
            result["sizes"].append(size)
            print(json.dumps(size), flush=True)
            # each size may take minutes: what is measured is kept
            output = Path(options.output)
            output.parent.mkdir(parents=True, exist_ok=True)
            output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(docs_table(options.output))


def machine():
    """What it was measured on."""
    usearch = nearest.usearch_index()
    from importlib import metadata

    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "usearch": metadata.version("usearch") if usearch else None,
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


def of_size(model, base, n_rows, folder, with_graph):
    """Times of an index with so many rows."""
    files, generator = IndexFolder.create(folder, index_identity(model)), np.random.default_rng(0)
    start = time.perf_counter()
    for first in range(0, n_rows, _CHUNK):
        rows = mixtures(base, min(_CHUNK, n_rows - first), generator)
        files.append(rows, [(f"/data/{first + row:08d}.wav", 1, 1) for row in range(len(rows))])
    written_s = time.perf_counter() - start
    index, queries = SearchIndex.open(folder), query_rows(model, base, generator)
    found = {
        "n_rows": n_rows,
        "bytes": sum(path.stat().st_size for path in folder.iterdir()),
        "written_s": round(written_s, 2),
        "open_ms": open_ms(folder),
    }
    for kind, rows in queries.items():
        is_sound = kind == "sound"
        found[kind] = {"exact_ms": query_ms(index, rows, is_sound, True)}
        found[kind]["exact_50_together_ms_each"] = together_ms(index, rows, is_sound)
        keep, nearest.usearch_index = nearest.usearch_index, lambda: None
        found[kind]["exact_numpy_ms"] = query_ms(index, rows[:3], is_sound, True)
        nearest.usearch_index = keep
    found["equal_to_brute_force"] = {kind: is_exact(index, rows, kind == "sound") for kind, rows in queries.items()}
    if with_graph:
        start = time.perf_counter()
        index.build_graph(n_threads=1)
        found["graph_build_s"] = round(time.perf_counter() - start, 1)
        for kind, rows in queries.items():
            found[kind]["graph_ms"] = query_ms(index, rows, kind == "sound", False)
            found[kind]["graph_recall"] = recall(index, rows, kind == "sound")
        found["open_with_graph_ms"] = open_ms(folder)
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


def query_ms(index, rows, is_sound, exact):
    """Median time of one query alone."""
    index.nearest(rows[:1], _K, is_sound, exact, n_threads=1)
    times = []
    for row in rows:
        start = time.perf_counter()
        index.nearest(row[None], _K, is_sound, exact, n_threads=1)
        times.append(time.perf_counter() - start)
    return round(1e3 * float(np.median(times)), 2)


def together_ms(index, rows, is_sound):
    """Time of a query among many that are asked together."""
    start = time.perf_counter()
    index.nearest(rows, _K, is_sound, True, n_threads=1)
    return round(1e3 * (time.perf_counter() - start) / len(rows), 2)


def is_exact(index, rows, is_sound):
    """Whether the results are those of one product with all rows."""
    queries = nearest.prepared_queries(rows, rows.shape[1], _K, is_sound)
    best = [(np.zeros(0, np.float32), np.zeros(0, np.int64)) for _ in queries]
    first = 0
    for part in index._files.parts:
        scores = nearest.scored(part.rows, queries, is_sound)
        numbers = np.arange(first, first + len(part.rows))
        best = [nearest.merged(old, new, numbers, _K) for old, new in zip(best, scores, strict=True)]
        first += len(part.rows)
    _, found = index.nearest(rows, _K, is_sound, True, n_threads=1)
    return bool((found == np.stack([numbers for _, numbers in best])).all())


def recall(index, rows, is_sound):
    """Share of the exact results that the graph finds."""
    _, exact = index.nearest(rows, _K, is_sound, True, n_threads=1)
    _, found = index.nearest(rows, _K, is_sound, False, n_threads=1)
    return round(float(np.mean([len(set(a) & set(b)) / _K for a, b in zip(exact, found, strict=True)])), 4)


def docs_table(path):
    """The written JSON as a Markdown table."""
    result = json.loads(Path(path).read_text(encoding="utf-8"))
    indexing, lines = result["indexing"], []
    for size in result["sizes"]:
        for kind in ("text", "sound"):
            found = size[kind]
            graph = f"{found['graph_ms']} ms, {100 * found['graph_recall']:.1f} %" if "graph_ms" in found else ""
            lines.append(
                f"| {size['n_rows']:,} | {size['bytes'] / 1e6:,.0f} MB | {size['open_ms']} ms | {kind} | "
                f"{found['exact_ms']} ms | {found['exact_50_together_ms_each']} ms | {found['exact_numpy_ms']} ms | "
                f"{graph} |"
            )
    return "\n".join(
        [
            f"Indexing {indexing['n_clips']} clips from files: {indexing['clips_per_s']} clips/s with one worker; the",
            f"network alone, on ready windows: {indexing['bare_network_clips_per_s']}. An update without changes:",
            f"{indexing['update_without_changes_s']} s. Queries for the best {result['k']}, exact but for the last",
            "column, which says what share of the exact results the graph finds. One thread of a machine with",
            f"{result['machine']['cores']} cores and a load of {result['machine']['load_before']} before it began.",
            "",
            "| recordings | disk | open | query | one | of 50 together, each | without usearch | graph |",
            "|---|---|---|---|---|---|---|---|",
            *lines,
        ]
    )


def open_ms(folder):
    """Median time to open an index in a new process."""
    command = [sys.executable, "-c", _OPEN, str(folder), str(Path(__file__).resolve().parents[1])]
    times = [
        float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[1]) for _ in "abc"
    ]
    return round(1e3 * float(np.median(times)), 1)


if __name__ == "__main__":
    main()

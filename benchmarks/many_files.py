#!/usr/bin/env python3
"""Ten thousand files of mixed kinds, 50 of them broken, by one command: memory, a kill and resumption, clips a second.

    python benchmarks/many_files.py [--n_files 10000] [--output benchmarks/results/many_files.json]

Files are noise of 0.1–30 s at 8–96 kHz in one or two channels as WAV (16 and 24 bit, float), FLAC, Ogg and MP3; beyond
--n_unique they are hard links. `tinyclap classify` runs over them once unbroken, and once killed half way (SIGKILL) and
resumed. Says whether both results are equal byte for byte, whether every broken file was named once, the resident
memory over time, and the clips a second of the command beside those of the bare network: the same engine on ready
windows of the same number and lengths, in as many threads.
"""

import argparse
import collections
import csv
import json
import os
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import harness  # noqa: F401 - makes tinyclap importable from a checkout

RATES_HZ = (8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000, 88200, 96000)
CODINGS = {
    "wav16": ("wav", "PCM_16", RATES_HZ),
    "wav24": ("wav", "PCM_24", RATES_HZ),
    "float": ("wav", "FLOAT", RATES_HZ),
    "flac": ("flac", "PCM_16", RATES_HZ),
    "ogg": ("ogg", "VORBIS", RATES_HZ),
    "mp3": ("mp3", "MPEG_LAYER_III", tuple(rate for rate in RATES_HZ if rate <= 48000)),
}
SHORTEST_S, LONGEST_S = 0.1, 30.0
BROKEN = ("nan", "infinite", "no_samples", "empty", "truncated", "truncated.flac", "page", "noise", "song.m4a")
INTERVAL_S = 0.2
PIECE = 1 << 15


def make_files(folder, n_files, n_broken, n_unique):
    """Write the files, the broken ones evenly among them; returns (good paths, broken paths)."""
    import numpy as np
    import soundfile

    generator = np.random.default_rng(0)
    noise = 0.2 * generator.standard_normal((round(LONGEST_S * max(RATES_HZ)), 2)).astype(np.float32)
    every, good, broken = max(n_files // n_broken, 1), [], []
    contents = broken_contents(folder.parent / "bad")
    for index in range(n_files):
        place = folder / f"{index // 1000:02d}"
        place.mkdir(parents=True, exist_ok=True)
        if index % every == every // 2 and len(broken) < n_broken:
            broken.append(place / f"{index:05d}.{'flac' if len(broken) % 3 == 0 else 'wav'}")
            write_broken(broken[-1], contents[len(broken) % len(contents)])
            continue
        if len(good) >= n_unique:
            first = good[len(good) % n_unique]
            good.append(place / f"{index:05d}{first.suffix}")
            os.link(first, good[-1])
            continue
        suffix, subtype, rates_hz = list(CODINGS.values())[index % len(CODINGS)]
        rate_hz = int(generator.choice(rates_hz))
        n_samples = round(rate_hz * float(np.exp(generator.uniform(np.log(SHORTEST_S), np.log(LONGEST_S)))))
        good.append(place / f"{index:05d}.{suffix}")
        n_channels = 1 + index % 2
        with soundfile.SoundFile(good[-1], "w", rate_hz, n_channels, subtype) as file:
            # in pieces: libsndfile's Ogg coder keeps on its stack what it is given at once, and dies of half a minute
            for start in range(0, n_samples, PIECE):
                file.write(noise[start : min(start + PIECE, n_samples), :n_channels])
    return good, broken


def broken_contents(folder):
    """Bytes of files that are wrong in different ways; None stands for a link to nothing."""
    from tests.fakes import bad_files

    made = bad_files(folder)
    slow = bytearray(made["whole"].read_bytes())
    slow[24:28] = struct.pack("<I", 1)  # a sample rate of 1 Hz: a minute would become days
    return [made[name].read_bytes() for name in BROKEN] + [bytes(slow), None]


def write_broken(path, content):
    """Write a broken file."""
    if content is None:
        path.symlink_to(path.with_name("nothing"))
    else:
        path.write_bytes(content)


def command(folder, target, workers, *words):
    """The command line that is shown."""
    module = [sys.executable, "-m", "tinyclap.cli.main", "classify"]
    return [*module, str(folder), "--out", str(target), "--keep-going", *workers, *words]


def run(words, target, kill_at=None):
    """Run a command, and kill it when it has written so many rows.

    Returns its status, its seconds on the wall and on processors, its standard error, and its memory over time.
    """
    log, started, memory = target.with_suffix(f".{len(words)}.log"), time.monotonic(), []
    before = cpu_s(resource.RUSAGE_CHILDREN)
    with open(log, "wb") as stream:
        process = subprocess.Popen(words, stderr=stream, env={**os.environ, "PYTHONPATH": str(harness_root())})
        while process.poll() is None:
            n_rows = n_lines(target)
            memory.append((n_rows, resident_mb(process.pid)))
            if kill_at is not None and n_rows >= kill_at:
                process.send_signal(signal.SIGKILL)
                process.wait()
            time.sleep(INTERVAL_S if kill_at is None else 0.01)
    seconds = (time.monotonic() - started, cpu_s(resource.RUSAGE_CHILDREN) - before)
    return process.returncode, seconds, log.read_text(encoding="utf-8"), memory


def cpu_s(who):
    """Seconds that processors have spent."""
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def harness_root():
    """Where the package is."""
    return Path(__file__).resolve().parents[1]


def n_lines(path):
    """Lines of a file that may not be there yet."""
    return path.read_bytes().count(b"\n") if path.exists() else 0


def resident_mb(pid):
    """Resident memory of a process, in MiB; 0 where it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return 0.0
    return int(status.split("VmRSS:")[1].split()[0]) / 1024 if "VmRSS:" in status else 0.0


def bare_network(paths, n_workers):
    """The engine alone on ready windows of the clips' number and lengths.

    Returns its seconds on the wall and on processors, and how many windows there are.
    """
    import numpy as np

    import tinyclap
    from tinyclap.audio.io import probe

    model = tinyclap.from_pretrained(n_threads=1)
    policy, rate_hz = model.backend.policy, model.sample_rate_hz
    noise = np.random.default_rng(0).standard_normal(rate_hz * 60).astype(np.float32) * 0.2
    shapes = []
    for path in paths:
        info = probe(path)
        n_samples = -(-info.n_samples * rate_hz // info.sample_rate_hz)
        shapes.append((len(policy.starts(n_samples, rate_hz)), policy.length(n_samples, rate_hz)))
    ready = {shape: np.ascontiguousarray(np.resize(noise, shape)) for shape in set(shapes)}
    started, before = time.monotonic(), cpu_s(resource.RUSAGE_SELF)
    with ThreadPoolExecutor(n_workers) as pool:
        collections.deque(pool.map(lambda shape: model.embed_windows(ready[shape]), shapes), maxlen=0)
    seconds = (time.monotonic() - started, cpu_s(resource.RUSAGE_SELF) - before)
    return seconds, sum(n_windows for n_windows, _ in shapes)


def named(path):
    """The recordings in an errors file."""
    with open(path, newline="", encoding="utf-8") as file:
        return [row["file"] for row in csv.DictReader(file)]


def show(folder, n_files, n_broken, n_unique, workers):
    """All of it; returns the record."""
    from tinyclap.audio.cpu import n_cores

    good, broken = make_files(folder / "files", n_files, n_broken, n_unique)
    files, whole, cut = folder / "files", folder / "whole.csv", folder / "cut.csv"
    status, seconds, said, memory = run(command(files, whole, workers), whole)
    kill_at = n_files // 2
    killed, _, said_first, _ = run(command(files, cut, workers), cut, kill_at)
    n_rows_killed = n_lines(cut)
    resumed, _, said_second, _ = run(command(files, cut, workers, "--resume"), cut)
    n_workers = int(workers[1]) if workers else n_cores()
    bare, n_windows = bare_network(good, n_workers)
    later = [mb for rows, mb in memory if rows >= n_files / 10 and mb]
    errors = [f"{path}.errors.csv" for path in (whole, cut)]
    lines = (said_first + said_second).splitlines()
    return {
        "benchmark": "many_files",
        "n_files": n_files,
        "n_broken": len(broken),
        "n_unique": min(n_unique, len(good)),
        "n_windows": n_windows,
        "n_workers": n_workers,
        "n_cores": n_cores(),
        "status": status,
        "rows": n_lines(whole) - 1,
        "broken_named": sorted(named(errors[0])) == sorted(map(str, broken)),
        "named_once_on_stderr": all(said.count(f"left out: {path}:") == 1 for path in broken),
        "killed_status": killed,
        "rows_when_killed": n_rows_killed - 1,
        "resumed_status": resumed,
        "equal_byte_for_byte": whole.read_bytes() == cut.read_bytes() and named(errors[0]) == named(errors[1]),
        "named_once_over_the_kill": all(sum(f"left out: {path}:" in line for line in lines) == 1 for path in broken),
        "seconds": round(seconds[0], 1),
        "clips_per_s": round(len(good) / seconds[0], 1),
        "bare_network_clips_per_s": round(len(good) / bare[0], 1),
        "clips_per_cpu_s": round(len(good) / seconds[1], 1),
        "bare_network_clips_per_cpu_s": round(len(good) / bare[1], 1),
        "load_average": round(os.getloadavg()[0], 1),
        "resident_mb_after_a_tenth": round(later[0], 1) if later else None,
        "resident_mb_at_the_end": round(later[-1], 1) if later else None,
        "resident_mb_most": round(max((mb for _, mb in memory), default=0), 1),
        "resident_mb_over_time": [round(mb) for _, mb in memory[:: max(len(memory) // 40, 1)]],
    }


def docs_table(path):
    """The record in words, for a page."""
    record = json.loads(Path(path).read_text(encoding="utf-8"))
    named = record["named_once_over_the_kill"] and record["broken_named"]
    more = {
        "once": "each named once" if named else "NOT each named once",
        "equal": "the same file byte for byte" if record["equal_byte_for_byte"] else "ANOTHER file",
        "share": 100 * record["clips_per_cpu_s"] / record["bare_network_clips_per_cpu_s"],
    }
    text = (
        "{n_files:,} files ({n_unique:,} of their own content), {n_broken} of them broken, {once}: {seconds:.0f} s "
        "with {n_workers} workers, {clips_per_s:.0f} clips a second. The bare network on ready windows of that many "
        "does {bare_network_clips_per_s:.0f}; for a second of processor time {clips_per_cpu_s:.0f} and "
        "{bare_network_clips_per_cpu_s:.0f}, so that decoding and resampling leave {share:.0f} %. Resident memory: "
        "{resident_mb_after_a_tenth:.0f} MB after a tenth, {resident_mb_at_the_end:.0f} MB at the end, "
        "{resident_mb_most:.0f} MB at most. Killed at row {rows_when_killed:,} and resumed: {equal}."
    )
    return text.format_map(record | more)


def main():
    """Show it, and write the record; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n_files", type=int, default=10000, help="files in all (default: 10000)")
    parser.add_argument("--n_broken", type=int, default=50, help="broken ones among them (default: 50)")
    parser.add_argument("--n_unique", type=int, default=2000, help="files of their own content (default: 2000)")
    parser.add_argument("--workers", type=int, help="the command's --workers")
    parser.add_argument("--output", default="benchmarks/results/many_files.json", help="the record")
    options = parser.parse_args()
    workers = [] if options.workers is None else ["--workers", str(options.workers)]
    from tinyclap.training.provenance import git_state

    with tempfile.TemporaryDirectory() as folder:
        record = show(Path(folder), options.n_files, options.n_broken, options.n_unique, workers)
    record["commit"] = git_state(Path(__file__).parent)["commit"]
    print(json.dumps(record, indent=1))
    Path(options.output).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    checks = ("broken_named", "named_once_on_stderr", "equal_byte_for_byte", "named_once_over_the_kill")
    return int(not all(record[name] for name in checks))


if __name__ == "__main__":
    sys.exit(main())

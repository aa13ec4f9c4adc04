#!/usr/bin/env python3
"""What a new user waits for: a fresh environment without torch, and the first answer of a cold process.

    python benchmarks/first_answer.py dog.wav [--labels "dog barking,rain,siren"] [--output FILE]

Makes a virtual environment, installs this checkout with its extra `runtime`, weighs what came, and runs `tinyclap
classify` as a command again and again, each time a new process: seconds from its start to its end, and the greatest
resident memory. Needs Linux and a package index.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

import harness  # noqa: F401 - makes tinyclap importable from a checkout

from tinyclap.audio.cpu import n_cores, processor

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "first_answer.json"
TOOLS = ("pip", "setuptools", "pkg_resources", "_distutils_hack", "wheel")  # of the environment itself
MB = 1e6


def main():
    """Measure, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", type=Path)
    parser.add_argument("--labels", default="dog barking,rain,siren")
    parser.add_argument("--n_runs", type=int, default=15)
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()
    if not options.recording.is_file():
        sys.exit(f"{options.recording}: no such file; give a recording")
    with tempfile.TemporaryDirectory() as scratch:
        program = installed(Path(scratch))
        site = next(program.parent.parent.glob("lib/python*/site-packages"))
        record = {
            "recording": options.recording.name,
            "labels": options.labels,
            "processor": processor(),
            "n_cores": n_cores(),
            "load_average": round(os.getloadavg()[0], 2),
            "installed_mb": {name: round(size / MB, 1) for name, size in weights(site).items()},
            "packages": packages(program),
            "words": cold([program, "classify", options.recording, "--labels", options.labels], options.n_runs),
            "bank": cold([program, "classify", options.recording, "--labels", "esc50"], options.n_runs),
        }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(table(options.output))


def installed(scratch):
    """A fresh environment with this checkout; returns its command."""
    venv.create(scratch / "fresh", with_pip=True)
    # a clone: what lies about in the checkout is not what is released
    subprocess.run(["git", "clone", "--quiet", "--depth", "1", f"file://{ROOT}", str(scratch / "clone")], check=True)
    pip = [scratch / "fresh" / "bin" / "python", "-m", "pip", "install", "--quiet", f"{scratch / 'clone'}[runtime]"]
    subprocess.run(pip, check=True)
    return scratch / "fresh" / "bin" / "tinyclap"


def packages(program):
    """What is installed: name and version."""
    listing = subprocess.run(
        [program.with_name("python"), "-m", "pip", "list", "--format", "json"], capture_output=True, check=True
    )
    found = {one["name"]: one["version"] for one in json.loads(listing.stdout)}
    return {name: version for name, version in found.items() if name not in TOOLS}


def weights(site):
    """Bytes of what was installed, in all and of the largest parts."""
    parts = {}
    for path in site.iterdir():
        name = path.name.split("-")[0].split(".")[0]
        if name not in TOOLS:
            files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
            parts[name] = parts.get(name, 0) + sum(one.stat().st_size for one in files)
    largest = sorted(parts, key=parts.get, reverse=True)[:4]
    return {"in all": sum(parts.values()), **{name: parts[name] for name in largest}}


def cold(command, n_runs):
    """New processes of a command: seconds and greatest resident memory."""
    seconds, memory = [], []
    for _ in range(n_runs + 1):
        started = time.perf_counter()
        child = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(child.pid, 0)
        seconds.append(time.perf_counter() - started)
        memory.append(used.ru_maxrss / 1024)
        if status:
            raise SystemExit(f"{' '.join(map(str, command))} ended with status {status}")
    first, later = seconds[0], sorted(seconds[1:])
    return {
        "n_runs": n_runs,
        "first_s": round(first, 3),
        "median_s": round(statistics.median(later), 3),
        "least_s": round(later[0], 3),
        "greatest_s": round(later[-1], 3),
        "peak_resident_mb": round(max(memory), 1),
    }


def table(path):
    """The record in words, for a page."""
    record = json.loads(Path(path).read_text(encoding="utf-8"))
    sizes = record["installed_mb"]
    largest = ", ".join(f"{name} {size:.0f}" for name, size in sizes.items() if name != "in all")
    text = (
        "A fresh environment holds {size:.0f} MB ({largest}). A cold process answers in {words[median_s]:.2f} s (your "
        "own words; {words[least_s]:.2f} to {words[greatest_s]:.2f} in {words[n_runs]} runs, the very first "
        "{words[first_s]:.2f}) or {bank[median_s]:.2f} s (a ready bank), with {words[peak_resident_mb]:.0f} or "
        "{bank[peak_resident_mb]:.0f} MB of memory at most, on {n_cores} cores of an {processor}."
    )
    return text.format_map(record | {"size": sizes["in all"], "largest": largest})


if __name__ == "__main__":
    main()

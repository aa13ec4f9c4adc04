#!/usr/bin/env python3
"""Break set-ups on purpose, have `tinyclap doctor` look at each, try the commands that it says, and keep what came out.

    python recipes/doctor/broken_setups.py                     all that this machine can make
    python recipes/doctor/broken_setups.py --torch215 FOLDER   with the real torch 2.15.0, unpacked by
        pip install --no-deps --target FOLDER torch==2.15.0 nvidia-nvshmem-cu13==3.7.2

Results go to recipes/doctor/results.json, from which recipes/update_readme.py writes the table of
docs/troubleshooting.md. Needs the extras train and metrics. As root on Linux, the full disk is a real one of 3 MB;
otherwise files are limited to 1 MB.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import setups

RESULTS = Path(__file__).with_name("results.json")
_N_SHOWN = 6


def tidy(text, scratch, python):
    """A text without the folders of this machine."""
    return (
        text.replace(str(python), "python")
        .replace(str(scratch), "SCRATCH")
        .replace(str(setups.ROOT), "CHECKOUT")
        .replace(sys.prefix, "ENV")
    )


def first_faults(report):
    """Faults with a command: those without are consequences of another."""
    return [each for each in report["findings"] if each["status"] == "fault" and each["mend"]]


def looked_at(name, what, setup, scratch, tried):
    """Examine a set-up, try the commands, and say what came out: dict."""
    start = time.perf_counter()
    report, status = setup.examine()
    taken_s = time.perf_counter() - start
    faults = first_faults(report)
    commands = list(dict.fromkeys(fault["mend"] for fault in faults))
    after = tried(setup, commands) if commands else ""
    row = {
        "name": name,
        "what": what,
        "asked for": setup.purposes,
        "exit status": status,
        "n_faults": report["n_faults"],
        "seconds": round(taken_s, 1),
        "faults": [f"{fault['part']}: {fault['found']}" for fault in faults],
        "commands": commands,
        "tried": after.replace("run: 0 faults left, exit status 0", "run: no fault left"),
    }
    return json.loads(tidy(json.dumps(row), scratch, setup.python))


def mended(setup, commands):
    """Run the commands and examine again."""
    report, status = setups.mend(setup, commands)
    return f"run: {report['n_faults']} faults left, exit status {status}"


def resolved(setup, commands):
    """What pip would install, without doing it."""
    found = setups.would_install(setup, commands[0])
    more = f" and {len(found) - _N_SHOWN} more" if len(found) > _N_SHOWN else ""
    # torch first: the rest is what it brings
    found.sort(key=lambda name: not name.startswith("torch"))
    return f"pip would install {', '.join(found[:_N_SHOWN])}{more}"


def untried(setup, commands):
    """Nothing was tried: the command needs a server that may be out of reach."""
    return "not run"


def all_setups(scratch):
    """Every set-up: yields (name, what it is made of, Setup, how its commands are tried)."""

    def place(name):
        (scratch / name).mkdir()
        return scratch / name

    yield "nothing broken", "the control", setups.healthy(place("healthy")), untried
    yield (
        "torch and torchaudio of different CUDA majors",
        "this torch under the version of a build for CUDA 99",
        setups.torch_of_another_cuda(place("other_cuda")),
        resolved,
    )
    yield (
        "torchaudio of CUDA, torch without",
        "this torch under the version of the CPU build; torchaudio raises what the loader says there",
        setups.cpu_torch_with_cuda_torchaudio(place("cpu_torch")),
        untried,
    )
    yield (
        "no CUDA libraries",
        "the real wheels of torch and torchaudio, without those of NVIDIA",
        setups.no_cuda_libraries(place("no_cuda")),
        resolved,
    )
    yield "no Java", "Java's path leads nowhere", setups.no_java(place("no_java")), resolved
    yield (
        "corrupt caches",
        "real layout; a file cut short, one changed, one incomplete, weights of another checksum",
        setups.corrupt_cache(place("cache")),
        mended,
    )
    disk = place("disk")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        small = place("small")
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(small)], check=True)
        try:
            yield "no disk", "both caches on a disk of 3 MB", setups.full_disk(disk, small), mended
        finally:
            subprocess.run(["umount", str(small)], check=True)
    else:
        yield "no disk", "no file may be larger than 1 MB", setups.full_disk(disk), untried


def table(results):
    """The results as a table of Markdown."""
    lines = [
        "| set-up | made of | what the doctor says | the command that mends it | tried |",
        "|---|---|---|---|---|",
    ]
    for row in results:
        said = "<br>".join(row["faults"]) or f"{row['n_faults']} faults, exit status {row['exit status']}"
        commands = "<br>".join(f"`{command}`" for command in row["commands"]).replace("|", "\\|")
        said = " ".join(said.split()).replace("|", "\\|")
        lines.append(f"| {row['name']} | {row['what']} | {said} | {commands} | {row['tried']} |")
    return "\n".join(lines)


def main():
    """Break, look, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        scratch, results = Path(scratch), []
        for name, what, setup, tried in all_setups(scratch):
            results.append(looked_at(name, what, setup, scratch, tried))
            print(f"{name}: {results[-1]['n_faults']} faults, {results[-1]['seconds']} s", flush=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print("Now: python recipes/update_readme.py")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""A target cache of 10,000 clips, killed three times and resumed, against one made unbroken; memory; a flipped byte.

    python benchmarks/target_cache_killed.py [--n_clips 10000] [--output results/benchmarks/target_cache_killed.jsonl]

The clips are 10,000 WAV files of noise of 1 s, the teacher a small network of random weights: what is shown does not
depend on either. Says whether all files are equal byte for byte, the resident memory of the unbroken run after a tenth
of its shards and at its end, and which file is named when one byte of the cache is flipped.
"""

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import harness  # noqa: F401 - makes tinyclap importable from a checkout

KILLED_AT = (0.25, 0.5, 0.75)


def make(audio, n_clips, folder, report):
    """Make or resume a cache, in this process."""
    import torch
    from target_cache import NoiseCorpora, NoiseViews, RandomTeacher

    from tinyclap.data.targets import TeacherTargets
    from tinyclap.features.front_ends import log_mel
    from tinyclap.models.phinet import PhiNet
    from tinyclap.models.projection import LinearHead
    from tinyclap.models.student import AudioStudent

    class SmallTeacher(RandomTeacher):
        def _load(self):
            torch.manual_seed(0)
            encoder = PhiNet(alpha=0.35, t_zero=4, embed_width=None)
            self.model = AudioStudent(log_mel("clap2022"), encoder, LinearHead(encoder.embed_dim, 1024))

    corpora = NoiseCorpora(Path(audio), n_clips, clip_s=1.0, file_rate=44100)
    if report:
        _watch_memory(Path(folder))
    TeacherTargets(SmallTeacher("fp32"), NoiseViews(corpora, 44100, 1.0), folder=folder, device="cpu").load()


def _watch_memory(folder):
    """Write this process's resident memory down, again and again, in a thread."""
    import threading

    def watch():
        while True:
            n_shards = len(list(folder.glob("*.sha256")))
            with open(folder.with_suffix(".memory"), "a", encoding="utf-8") as file:
                file.write(f"{n_shards} {_resident_mb()}\n")
            time.sleep(0.2)

    threading.Thread(target=watch, daemon=True).start()


def _resident_mb():
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def run(audio, n_clips, folder, until=None, report=False):
    """Run one process, and kill it when it has made so many shards; returns how long it took."""
    words = [sys.executable, __file__, "--n_clips", str(n_clips), "--make", str(audio), str(folder), str(int(report))]
    started = time.monotonic()
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        if until is not None and len(list(folder.glob("*.sha256"))) >= until:
            process.send_signal(signal.SIGKILL)
            process.wait()
            return time.monotonic() - started
        time.sleep(0.01)
    if until is not None or process.returncode:
        raise RuntimeError(f"the process ended with status {process.returncode} before it was killed")
    return time.monotonic() - started


def digests(folder):
    """Name → SHA-256 of each shard."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.arrow")}


def flipped(folder, audio, n_clips):
    """What is said when one byte in the middle of the cache is flipped."""
    victim = sorted(folder.glob("*.arrow"))[len(list(folder.glob("*.arrow"))) // 2]
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)
    words = [sys.executable, __file__, "--n_clips", str(n_clips), "--make", str(audio), str(folder), "0"]
    said = subprocess.run(words, capture_output=True, text=True, check=False)
    return {"flipped": victim.name, "named": victim.name in said.stderr, "refused": said.returncode != 0}


def main():
    """Show it, and append a record; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n_clips", type=int, default=10000, help="clips of the cache (default: 10000)")
    parser.add_argument("--output", default="results/benchmarks/target_cache_killed.jsonl", help="appended here")
    parser.add_argument("--make", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make:
        make(options.make[0], options.n_clips, options.make[1], options.make[2] == "1")
        return 0
    with tempfile.TemporaryDirectory() as place:
        place, n_clips = Path(place), options.n_clips
        audio, whole, killed = place / "audio", place / "whole", place / "killed"
        for folder in (audio, whole, killed):
            folder.mkdir()
        took_s = run(audio, n_clips, whole, report=True)
        n_shards = len(list(whole.glob("*.sha256")))
        for share in KILLED_AT:
            run(audio, n_clips, killed, until=max(1, int(share * n_shards)))
        run(audio, n_clips, killed)
        wanted, got = digests(whole), digests(killed)
        left_over = list(killed.glob(".*.part"))
        rows = [line.split() for line in whole.with_suffix(".memory").read_text(encoding="utf-8").splitlines()]
        memory = [float(mb) for shards, mb in rows if int(shards) >= n_shards / 10]
        from tinyclap.training.provenance import git_state

        record = {
            "benchmark": "target_cache_killed",
            "n_clips": n_clips,
            "n_shards": n_shards,
            "n_files": len(wanted),
            "killed": len(KILLED_AT),
            "equal_byte_for_byte": {name: got.get(name) for name in wanted} == wanted,
            "half_written_files_left": len(left_over),
            "seconds_unbroken": round(took_s, 1),
            "resident_mb_after_a_tenth": round(memory[0], 1),
            "resident_mb_at_the_end": round(memory[-1], 1),
            "resident_mb_most": round(max(memory), 1),
            **flipped(killed, audio, n_clips),
            "n_threads": os.environ.get("OMP_NUM_THREADS", "default"),
            "commit": git_state(Path(__file__).parent)["commit"],
        }
    print(json.dumps(record, indent=1))
    Path(options.output).parent.mkdir(parents=True, exist_ok=True)
    with open(options.output, "a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")
    return int(not (record["equal_byte_for_byte"] and record["named"]))


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""A step of distillation, 16 clips of 5 s: the official one and its stages against ours, with everything stored or not.

    python benchmarks/training_step.py [--sizes L M] [--batch_size 16] [--threads 1 2] [--allocators default tuned]

Official: decode wav16, log-mel by torchlibrosa, CNN14, BERT over 100 padded tokens, student in default memory format,
Adam. Ours: embeddings (and log-mels) in float16 from a memory map, student in channels-last order,
fused Adam. Notes give the peak memory of a process that does nothing else.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
import torch
from harness import TUNED_ALLOCATOR, Group, benchmark_main
from peer_tinyclap import CLIP_S, DIM, N_FRAMES, N_MELS, RATE, OfficialStep, learn, make_student

MEMORY = "peak memory in MB after four steps, and before"
N_STORED = 256  # clips in the stored arrays


class OurStep:
    """A step from what is stored.

    Arguments
    ---------
    size : {"L", "M"}
    folder : pathlib.Path
        Of :func:`make_data`.
    batch_size : int
    from_waveforms : bool
        Decode and compute the log-mel instead of reading it.
    autocast : bool
        In bfloat16 where PyTorch's autocast has it so.
    """

    def __init__(self, size, folder, batch_size, from_waveforms=False, autocast=False):
        self.student = make_student(size).train().to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.Adam(self.student.parameters(), lr=1e-3, fused=True)
        self.targets = np.load(folder / "embeddings.npy", mmap_mode="r")
        self.log_mels = np.load(folder / "log_mels.npy", mmap_mode="r")
        self.paths = wav_paths(folder, batch_size) if from_waveforms else None
        self.random, self.batch_size, self.autocast = np.random.default_rng(0), batch_size, autocast

    def inputs(self, rows):
        """Log-mels (B, F, M) of the batch."""
        if self.paths is None:
            return torch.from_numpy(self.log_mels[rows].astype(np.float32))
        wavs = np.stack([soundfile.read(path, dtype="float32")[0] for path in self.paths])
        with torch.no_grad():
            return self.student.features(torch.from_numpy(wavs))

    def __call__(self):
        """The whole step."""
        rows = np.sort(self.random.choice(N_STORED, self.batch_size, replace=False))
        log_mels, targets = self.inputs(rows), torch.from_numpy(self.targets[rows].astype(np.float32))
        with torch.autocast("cpu", torch.bfloat16, enabled=self.autocast):
            learn(self.student, self.optimizer, log_mels, targets)


def wav_paths(folder, batch_size):
    """The batch's files."""
    return [folder / f"{index}.wav" for index in range(batch_size)]


def make_data(folder, batch_size):
    """Files and stored arrays of noise: time does not depend on what is heard."""
    random = np.random.default_rng(0)
    for path in wav_paths(folder, batch_size):
        soundfile.write(path, 0.1 * random.standard_normal(CLIP_S * RATE), RATE, subtype="PCM_16")
    np.save(folder / "embeddings.npy", random.standard_normal((N_STORED, DIM)).astype(np.float16))
    log_mels = random.standard_normal((N_STORED, N_FRAMES, N_MELS)) * 10 - 40
    np.save(folder / "log_mels.npy", log_mels.astype(np.float16))


def whole_steps(size, folder, batch_size):
    """Name → how to make the step."""
    return {
        "official": lambda: OfficialStep(size, wav_paths(folder, batch_size)),
        "ours, log-mel and embedding stored": lambda: OurStep(size, folder, batch_size),
        "ours, embedding stored": lambda: OurStep(size, folder, batch_size, from_waveforms=True),
        "ours, both stored, bf16 autocast": lambda: OurStep(size, folder, batch_size, autocast=True),
    }


def stages(size, folder, batch_size):
    """Stage → cases: the official one, and ours where it is still done at all."""
    official, ours = OfficialStep(size, wav_paths(folder, batch_size)), OurStep(size, folder, batch_size)
    wavs = official.decode()
    log_mels, targets = official.official.front_end(wavs), torch.randn(batch_size, DIM)
    heard = OurStep(size, folder, batch_size, from_waveforms=True)
    rows = np.arange(batch_size)
    yield "decode wav16", {"official": official.decode}
    yield (
        "log-mel",
        {
            "official": lambda: official.official.front_end(wavs),
            "ours, after decoding": lambda: heard.inputs(rows),
            "ours, stored": lambda: ours.inputs(rows),
        },
    )
    yield "teacher", {"official": lambda: official.teach(log_mels)}
    yield "text tower", {"official": official.read_captions}
    yield (
        "student and Adam",
        {
            "official": lambda: official.learn(log_mels, targets),
            "ours": lambda: learn(ours.student, ours.optimizer, log_mels, targets),
        },
    )


def peak_memory_mb(size, case, options):
    """Peak of the resident memory of a process that takes four steps of a case, and of one that only makes it ready."""
    kept = {key: value for key, value in os.environ.items() if key not in TUNED_ALLOCATOR}
    environment = {**kept, **(TUNED_ALLOCATOR if options.allocator == "tuned" else {})}
    words = ["--measure_memory", size, case, "--batch_size", str(options.batch_size)]
    answer = subprocess.run(
        [sys.executable, __file__, *words], env=environment, capture_output=True, text=True, check=True
    )
    return [round(float(word)) for word in answer.stdout.split()]


def measure_memory(size, case, batch_size):
    """Print both peaks; runs in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        make_data(Path(name), batch_size)
        step = whole_steps(size, Path(name), batch_size)[case]()
        ready = _resident_mb("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here, not from making the data
        for _ in range(4):
            step()
    print(_resident_mb("VmHWM"), ready)


def _resident_mb(which):
    """Resident memory of this process, now (VmRSS) or at most (VmHWM)."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(which)) / 1024


def groups(options):
    """Whole steps, then their stages, for each size."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_data(folder, options.batch_size)
        shape = f"{options.batch_size} clips of {CLIP_S} s"
        for size in options.sizes:
            title = f"distillation step, {size}"
            if re.search(options.only, f"{title}, {shape}"):
                makers = whole_steps(size, folder, options.batch_size)
                yield Group(
                    title,
                    shape,
                    {case: make() for case, make in makers.items()},
                    peer="official",
                    n_clips=options.batch_size,
                    notes={MEMORY: {case: peak_memory_mb(size, case, options) for case in makers}},
                )
            for stage, cases in stages(size, folder, options.batch_size):
                yield Group(f"stage of {size}: {stage}", shape, cases, peer="official", n_clips=options.batch_size)


def add_arguments(parser):
    """What this benchmark has beside the common options."""
    parser.add_argument("--sizes", nargs="+", choices=("L", "M"), default=["L", "M"], help="students (default: L M)")
    parser.add_argument("--batch_size", type=int, default=16, help="clips in a step (default: 16)")


if __name__ == "__main__":
    if "--measure_memory" in sys.argv:
        parser = argparse.ArgumentParser()
        parser.add_argument("--measure_memory", nargs=2)
        parser.add_argument("--batch_size", type=int)
        asked = parser.parse_args()
        sys.exit(measure_memory(*asked.measure_memory, asked.batch_size))
    sys.exit(benchmark_main(__doc__, __file__, groups, add_arguments))

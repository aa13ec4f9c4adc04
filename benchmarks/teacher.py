#!/usr/bin/env python3
"""The teacher's embedding of clips of 5 s, from log-mels: CNN14 eager in fp32 against folded, channels-last, bfloat16.

    python benchmarks/teacher.py [--batch_sizes 1 32] [--threads 1 2] [--allocators default tuned]

What precompute.py uses is the last case (teacher.use_precision("bf16")). Notes give the cosine of its embeddings to
those of fp32, for random weights.
"""

import copy
import sys

import torch
from harness import Group, benchmark_main
from peer_tinyclap import CLIP_S, N_FRAMES, N_MELS, make_teacher

from tinyclap.teachers.precision import in_bf16

N_MACS = 13_790_000_000  # of CNN14 and its head, for one clip of 5 s


def variants():
    """Name → audio tower."""
    teacher = make_teacher()
    folded = teacher.fold()
    return {
        "fp32 eager": teacher,
        "fp32 folded": folded,
        "fp32 folded, channels-last": copy.deepcopy(folded).to(memory_format=torch.channels_last),
        "bf16 folded, channels-last": in_bf16(teacher),
    }


@torch.inference_mode()
def run(tower, log_mels):
    """Embeddings (B, 1024)."""
    return tower(log_mel=log_mels).clip


def groups(options):
    """One group a batch size."""
    towers = variants()
    for batch_size in options.batch_sizes:
        log_mels = torch.randn(batch_size, N_FRAMES, N_MELS, generator=torch.Generator().manual_seed(0)) * 10 - 40
        wanted = run(towers["fp32 eager"], log_mels)
        cosines = {
            name: torch.cosine_similarity(run(tower, log_mels), wanted).min().item() for name, tower in towers.items()
        }
        yield Group(
            "CNN14 teacher",
            f"{batch_size} clips of {CLIP_S} s",
            {name: lambda tower=tower, log_mels=log_mels: run(tower, log_mels) for name, tower in towers.items()},
            peer="fp32 eager",
            n_clips=batch_size,
            n_macs=N_MACS * batch_size,
            notes={"least cosine to fp32": cosines},
        )


def add_arguments(parser):
    """What this benchmark has beside the common options."""
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[1, 32], help="clips in a call (default: 1 32)")


if __name__ == "__main__":
    sys.exit(benchmark_main(__doc__, __file__, groups, add_arguments))

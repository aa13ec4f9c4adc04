#!/usr/bin/env python3
"""The target cache: made at what fraction of the bare teacher's speed, and read at what cost for a step.

    python benchmarks/target_cache.py [--n_clips 64] [--batch_size 32] [--threads 1 2] [--allocators tuned]

The first group gives the teacher (CNN14 of random weights, bf16 as precompute.py --teacher_precision bf16 has it)
waveforms in memory; against it, the cache is made of WAV files on disk: read, resampled 48 → 44.1 kHz, given to
the teacher, written with its checksums; once more with the student's log-mels. The second group fetches a training
batch of 16: embeddings and log-mels by memory map, against decoding the crops.
"""

import itertools
import shutil
import sys
import tempfile
from functools import cached_property
from pathlib import Path

import numpy as np
import soundfile
import torch
from harness import Group, benchmark_main
from peer_tinyclap import CLIP_S, make_teacher

from tinyclap.data.batches import collate
from tinyclap.data.items import ItemTable
from tinyclap.data.targets import TeacherTargets
from tinyclap.data.views import Views, ViewsPart
from tinyclap.features.front_ends import log_mel
from tinyclap.teachers.base import FrozenTeacher
from tinyclap.teachers.precision import in_bf16

RATE, FILE_RATE = 44100, 48000
N_FETCHED = 16


class RandomTeacher(FrozenTeacher):
    """CNN14 of random weights."""

    def __init__(self, precision):
        super().__init__("benchmark")
        self.sample_rate_hz, self.embed_dim, self.wanted = RATE, 1024, precision

    def _load(self):
        tower = make_teacher().eval()
        self.model = in_bf16(tower) if self.wanted == "bf16" else tower

    def embed_audio(self, wavs, sample_rate_hz):
        """Clips of one length → (B, D)."""
        return self.model(wavs).clip

    def text_side(self):
        """None that could be used."""
        return {"kind": self.kind}

    def _decides(self):
        return {"weights": "random"}


class NoiseCorpora:
    """A corpus of noise; the manifest is in memory, and files that are there already are left alone."""

    def __init__(self, folder, n_clips, clip_s=CLIP_S, file_rate=FILE_RATE):
        paths = [folder / f"{index}.wav" for index in range(n_clips)]
        for index, path in enumerate(paths):
            if not path.exists():
                noise = np.random.default_rng(index).standard_normal(round(clip_s * file_rate)) * 0.1
                soundfile.write(path, noise, file_rate, subtype="PCM_16")
        self.items = {f"noise/{path.stem}": {"wav": str(path), "duration_s": clip_s} for path in paths}


class NoiseViews(Views):
    """One crop of each clip: the whole of it."""

    def __init__(self, corpora, rate, clip_s):
        super().__init__(corpora, rate, clip_s, n_views=1)

    @cached_property
    def _items(self):
        return ItemTable(self.corpora.items), ItemTable({})

    def parts(self):
        """One part."""
        return {"noise": ViewsPart(self.keys(), self.describe())}


def groups(options):
    """Making and reading."""
    torch.set_grad_enabled(False)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "audio").mkdir()
        corpora = NoiseCorpora(folder / "audio", options.n_clips)
        yield from (making(options, corpora, folder, precision) for precision in options.precisions)
        yield reading(options, corpora, folder)


def making(options, corpora, folder, precision):
    """The cache against the bare teacher."""
    teacher, views, numbers = RandomTeacher(precision).load(), NoiseViews(corpora, RATE, CLIP_S), itertools.count()
    batches = [
        torch.from_numpy(np.stack([views.read(*key) for key in views.keys()[first : first + options.batch_size]]))
        for first in range(0, options.n_clips, options.batch_size)
    ]

    def make(features=None):
        target = folder / f"cache_{next(numbers)}"
        options_of_cache = {"features": features, "batch_size": options.batch_size, "device": "cpu"}
        TeacherTargets(teacher, views, folder=target, **options_of_cache).load()
        shutil.rmtree(target)

    return Group(
        f"target cache made by a {precision} teacher",
        f"{options.n_clips} clips of {CLIP_S} s",
        {
            "bare teacher": lambda: [teacher.embed_audio(wavs, RATE) for wavs in batches],
            "embeddings": make,
            "embeddings and log-mels": lambda: make(log_mel("clap2022")),
        },
        peer="bare teacher",
        n_clips=options.n_clips,
    )


def reading(options, corpora, folder):
    """A training batch from a cache."""
    views = NoiseViews(corpora, RATE, CLIP_S)
    caches = {
        name: TeacherTargets(RandomTeacher("bf16"), views, folder=folder / name, features=features, device="cpu").load()
        for name, features in (("embedding, log-mel", log_mel("clap2022")), ("embedding, audio decoded", None))
    }
    clips = list(views.train_items)
    keys = [(clips[place], "c0") for place in np.random.default_rng(1).integers(0, options.n_clips, N_FETCHED)]

    def fetch(cache):
        examples = [cache.example(*key) for key in keys]
        if not cache.has_log_mel:
            examples = [{**example, "wav": views.read(*key)} for example, key in zip(examples, keys, strict=True)]
        return collate(examples).to("cpu")

    return Group(
        "batch read from a target cache",
        f"{N_FETCHED} examples",
        {name: lambda cache=cache: fetch(cache) for name, cache in caches.items()},
        peer="embedding, audio decoded",
        n_clips=N_FETCHED,
    )


def add_arguments(parser):
    """What this benchmark has beside the common options."""
    parser.add_argument("--n_clips", type=int, default=64, help="clips of the cache (default: 64)")
    parser.add_argument("--batch_size", type=int, default=32, help="clips that the teacher is given (default: 32)")
    parser.add_argument(
        "--precisions", nargs="+", default=["bf16"], choices=("fp32", "bf16"), help="the teacher's (default: bf16)"
    )


if __name__ == "__main__":
    sys.exit(benchmark_main(__doc__, __file__, groups, add_arguments))

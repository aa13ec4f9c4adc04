#!/usr/bin/env python3
"""The teacher store: made at what share of the bare teacher's speed, and read at what cost for a step.

    python benchmarks/store.py [--n_clips 64] [--batch_size 32] [--threads 1 2] [--allocators tuned]

The first group gives the teacher (CNN14 of random weights, bf16 as precompute.py --store_precision bf16 has it)
waveforms in memory; against it, the store is made of WAV files on disk: read, resampled 48 → 44.1 kHz, given to
the teacher, written with their checksums; once more with the student's log-mels. The second group fetches a training
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

from tinyclap.data.crop_views import CropViews
from tinyclap.data.item_table import ItemTable
from tinyclap.data.stored_sets import StoredExamples, collate_examples
from tinyclap.data.teacher_store import EmbeddingStore
from tinyclap.data.views import ViewsPart
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


class NoiseViews(CropViews):
    """One crop of each clip: the whole of it."""

    @cached_property
    def sides(self):
        """All to train on."""
        return ItemTable(self.corpora.items), {}

    @cached_property
    def items(self):
        """All clips."""
        return self.sides[0]

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
    """The store against the bare teacher."""
    teacher, views, numbers = RandomTeacher(precision).load(), NoiseViews(corpora, RATE, CLIP_S, 1), itertools.count()
    batches = [
        torch.from_numpy(np.stack([views.read(*key) for key in views.keys()[first : first + options.batch_size]]))
        for first in range(0, options.n_clips, options.batch_size)
    ]

    def store(features=None):
        target = folder / f"store_{next(numbers)}"
        EmbeddingStore(target, teacher, views, features, batch_size=options.batch_size).load()
        shutil.rmtree(target)

    return Group(
        f"store made by a {precision} teacher",
        f"{options.n_clips} clips of {CLIP_S} s",
        {
            "bare teacher": lambda: [teacher.embed_audio(wavs, RATE) for wavs in batches],
            "store of embeddings": store,
            "store with log-mels": lambda: store(log_mel("clap2022")),
        },
        peer="bare teacher",
        n_clips=options.n_clips,
    )


def reading(options, corpora, folder):
    """A training batch from a store."""
    views, sets = NoiseViews(corpora, RATE, CLIP_S, 1), {}
    teacher = RandomTeacher("bf16")
    for name, features in (("embedding, log-mel", log_mel("clap2022")), ("embedding, audio decoded", None)):
        store = EmbeddingStore(folder / name, teacher, views, features, batch_size=options.batch_size).load()
        audio = None if features is not None else views
        sets[name] = StoredExamples(list(views.items), store.taught, 0, views=audio)
    places = np.random.default_rng(1).integers(0, options.n_clips, N_FETCHED)

    def fetch(examples):
        return collate_examples([examples[int(place)] for place in places]).to("cpu")

    return Group(
        "batch read from a store",
        f"{N_FETCHED} examples",
        {name: lambda examples=examples: fetch(examples) for name, examples in sets.items()},
        peer="embedding, audio decoded",
        n_clips=N_FETCHED,
    )


def add_arguments(parser):
    """What this benchmark has beside the common options."""
    parser.add_argument("--n_clips", type=int, default=64, help="clips of the store (default: 64)")
    parser.add_argument("--batch_size", type=int, default=32, help="clips that the teacher is given (default: 32)")
    parser.add_argument(
        "--precisions", nargs="+", default=["bf16"], choices=("fp32", "bf16"), help="the teacher's (default: bf16)"
    )


if __name__ == "__main__":
    sys.exit(benchmark_main(__doc__, __file__, groups, add_arguments))

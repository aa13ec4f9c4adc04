#!/usr/bin/env python3
"""Memory of a loader's workers on a manifest of 100,000 clips: kept as dicts, and as a table of arrays.

    python benchmarks/worker_memory.py [--n_clips 100000] [--n_workers 2]

Each worker is a fork that shares its parent's memory until one of them writes to it; looking at a Python object counts
its references, which is a write. Says how much memory each worker has of its own (private and dirty, from
/proc/self/smaps_rollup) after it has looked at every clip of its share.
"""

import argparse
import json
import sys
from pathlib import Path

import harness  # noqa: F401 - makes tinyclap importable from a checkout
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from tinyclap.data.items import ItemTable


def make_items(n_clips):
    """A manifest like a corpus's."""
    return {
        f"audiocaps_train/{index:06d}_{index * 7919 % 1000003}": {
            "wav": f"/data/AudioCaps/train/{index:06d}_{index * 7919 % 1000003}.wav",
            "duration_s": 10.0 + index % 7 / 10,
            "captions": [f"Clip number {index} is a dog that barks while {index % 97} cars pass by"],
            "group": f"audiocaps/{index // 3}",
        }
        for index in range(n_clips)
    }


class Looking(Dataset):
    """Looks at an item, and says how much memory the worker has of its own."""

    def __init__(self, items, names):
        self.items, self.names = items, names

    def __len__(self):
        return len(self.names)

    def __getitem__(self, index):
        duration_s = self.items[self.names[index]]["duration_s"]
        return duration_s, private_mb() if index >= len(self) - 64 else 0.0


def private_mb():
    """Memory of this process that it shares with nobody, in MB."""
    rows = (line.split() for line in Path("/proc/self/smaps_rollup").read_text(encoding="utf-8").splitlines())
    return sum(int(row[1]) for row in rows if row[0] == "Private_Dirty:") / 1024


def measure(dataset, n_workers):
    """Most private memory of a worker after one pass, in MB, and what its start alone costs."""
    loader = DataLoader(dataset, batch_size=32, num_workers=n_workers)
    first = DataLoader(
        torch.utils.data.Subset(dataset, range(len(dataset) - 64, len(dataset))), 32, num_workers=n_workers
    )
    start = max(float(mb.max()) for _, mb in first)
    return max(float(mb.max()) for _, mb in loader), start


def main():
    """Print the table and append a record; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n_clips", type=int, default=100000, help="rows of the manifest (default: 100000)")
    parser.add_argument("--n_workers", type=int, default=2, help="workers of the loader (default: 2)")
    parser.add_argument("--output", default="results/benchmarks/worker_memory.jsonl", help="the record goes here")
    options = parser.parse_args()
    items = make_items(options.n_clips)
    table = ItemTable(items)
    record = {"benchmark": "worker_memory", "n_clips": options.n_clips, "n_workers": options.n_workers}
    for name, dataset in (("dicts", Looking(items, list(items))), ("table", Looking(table, np.array(list(items))))):
        whole, start = measure(dataset, options.n_workers)
        record[name] = {"private_mb": round(whole, 1), "private_mb_at_start": round(start, 1)}
        print(f"{name:<8}{whole:>8.1f} MB of its own a worker after a pass, {start:.1f} MB when it starts")
    Path(options.output).parent.mkdir(parents=True, exist_ok=True)
    with open(options.output, "a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

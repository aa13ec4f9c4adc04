#!/usr/bin/env python3
"""One clip of 10 s, batch 1, fp32, plain PyTorch: the captioning teacher against the student, and each stage's share.

    OMP_NUM_THREADS=1 python benchmarks/captioner.py [--repeats 7] [--output results/benchmarks/captioner.json]

The teacher is HTSAT-BART with beam 3 and 30 tokens, the student EfficientNet-B2 and its Transformer with beam 3 and 20
words, both of the published sizes, with random weights: time does not depend on the weights, as long as neither stops
early, which both are kept from. Teacher and student take turns, so that a busy moment meets both; medians, with the
least and the greatest. On a busy machine processor time tells more than the clock: both are given.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from tinyclap.decoding import search
from tinyclap.experiment import provenance, write_json
from tinyclap.published_captioners import Effb2Trm
from tinyclap.published_wavcaps import WavcapsHtsatBart

CLIP_S, N_WORDS, N_TOKENS, BEAM = 10, 20, 30, 3


@torch.no_grad()
def filled(network):
    """Random weights at which nothing overflows: normal matrices, norms of one."""
    torch.manual_seed(0)
    for name, parameter in network.named_parameters():
        if parameter.ndim > 1:
            parameter.normal_(0, 0.02)
        else:
            parameter.fill_(1.0 if name.endswith("weight") else 0.0)
    return network.eval()


class Clock:
    """Wall and processor seconds of named stages."""

    def __init__(self):
        self.stages = {}

    def __call__(self, name, work):
        """Time `work()` under a name; returns what it gives."""
        wall, processor = time.perf_counter(), time.process_time()
        result = work()
        seconds = (time.perf_counter() - wall, time.process_time() - processor)
        self.stages.setdefault(name, []).append(seconds)
        return result


@torch.no_grad()
def caption_by_student(network, wav, clock):
    """Log-mel, encoder, decoder."""
    captioner = network.captioner
    log_mel = clock("student: log-mel", lambda: captioner.features(wav))
    encoded = clock("student: encoder", lambda: captioner.encode(log_mel=log_mel))

    def decode():
        state = captioner.decoder.begin(encoded.frames, encoded.n_frames)
        words = captioner.tokenizer
        return search(
            captioner.decoder, state, words.start_id, words.end_id, BEAM, max_words=N_WORDS, min_words=N_WORDS - 1
        )

    return clock("student: decoder", decode).ids.shape[-1]


@torch.no_grad()
def caption_by_teacher(network, wav, clock):
    """Log-mel, HTS-AT, BART's encoder over 1024 positions, BART's decoder."""
    log_mel = clock("teacher: log-mel", lambda: network.features(wav))
    frames = clock("teacher: HTS-AT", lambda: network.encoder(log_mel).frames)
    hidden = clock("teacher: BART encoder", lambda: network.hidden(frames))
    ids = clock("teacher: BART decoder", lambda: network._write(hidden, BEAM, N_TOKENS, N_TOKENS))
    return ids.shape[-1]


def summary(values):
    """Median, least and greatest, in ms."""
    values = [1000 * value for value in values]
    return {"median_ms": statistics.median(values), "min_ms": min(values), "max_ms": max(values)}


def report(clock, kind):
    """Stages, totals and the ratio, by the clock (0) or by processor time (1)."""
    stages = {name: summary([seconds[kind] for seconds in all_seconds]) for name, all_seconds in clock.stages.items()}
    totals = {}
    for side in ("teacher", "student"):
        mine = [all_seconds for name, all_seconds in clock.stages.items() if name.startswith(side)]
        sums = [sum(stage[kind] for stage in stages_of_run) for stages_of_run in zip(*mine, strict=True)]
        totals[side] = summary(sums)
        for name in stages:
            if name.startswith(side):
                stages[name]["share"] = stages[name]["median_ms"] / totals[side]["median_ms"]
    return {"stages": stages, **totals, "ratio": totals["teacher"]["median_ms"] / totals["student"]["median_ms"]}


def main():
    """Time both and print the table; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--repeats", type=int, default=7, help="turns of each (default: 7)")
    parser.add_argument("--output", default="results/benchmarks/captioner.json", help="JSON file for the figures")
    options = parser.parse_args()
    student, teacher = filled(Effb2Trm()), filled(WavcapsHtsatBart())
    wav = {
        network: torch.randn(1, CLIP_S * network.sample_rate_hz, generator=torch.Generator().manual_seed(1)) * 0.1
        for network in (student, teacher)
    }
    clock = Clock()
    for turn in range(options.repeats + 1):
        if turn == 1:
            clock = Clock()  # the first turn warms up
        n_tokens = caption_by_teacher(teacher, wav[teacher], clock)
        n_words = caption_by_student(student, wav[student], clock)
    record = {
        "benchmark": "captioner",
        "clip_s": CLIP_S,
        "beam": BEAM,
        "n_words": n_words,
        "n_tokens": n_tokens,
        "repeats": options.repeats,
        "wall": report(clock, 0),
        "processor": report(clock, 1),
        **provenance("cpu"),
    }
    write_json(options.output, record)
    for kind in ("wall", "processor"):
        figures = record[kind]
        print(f"\n{kind} time, {record['n_threads']} thread(s), medians of {options.repeats}")
        for name, stage in figures["stages"].items():
            spread = f"[{stage['min_ms']:.1f}, {stage['max_ms']:.1f}]"
            print(f"  {name:24s} {stage['median_ms']:9.1f} ms {spread:22s} {100 * stage['share']:5.1f} %")
        for side in ("teacher", "student"):
            print(f"  {side + ' in all':24s} {figures[side]['median_ms']:9.1f} ms")
        print(f"  teacher / student        {figures['ratio']:9.1f}")
    print(f"\nwritten to {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

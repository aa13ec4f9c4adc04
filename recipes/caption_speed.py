#!/usr/bin/env python3
"""How many times as fast as its teacher a captioner is: one clip, batch 1, from samples to words, in turns.

    python recipes/caption_speed.py --student effb2_trm --student_weights pytorch_model.bin \\
        --teacher wavcaps_htsat_bart --teacher_weights HTSAT_BART_AudioCaps.pt --output_folder OUT

The captioning paper says "19 times" and not how it was measured; here both caption the same clips of --clip_s seconds
with their own beams and limits. Without --audio the clip is a seeded noise, of which a model may say more or less than
of a real one; the words of both are written down. Writes OUT/metrics.json: ``value`` is the teacher's median time
divided by the student's; under ``times`` stand both medians and real-time factors.
"""

import argparse
import statistics
import sys
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(1, str(ROOT))

from tinyclap.audio.io import read_audio  # noqa: E402
from tinyclap.errors import ConfigError, TinyclapError  # noqa: E402
from tinyclap.files import write_json  # noqa: E402
from tinyclap.metrics.cost import count_parameters, measure_latency  # noqa: E402
from tinyclap.teachers import make_teacher  # noqa: E402
from tinyclap.training.provenance import provenance  # noqa: E402 - this checkout's package, from any folder

RATE = 32000
SEED = 1234


def clips_of(folder, clip_s, n_clips):
    """(waveform (T,), rate) of each clip: the first of a folder, tiled or cut to one length, or noise that swells."""
    n_samples = round(clip_s * RATE)
    if folder is None:
        noise = np.random.default_rng(SEED).normal(0.0, 0.1, (n_clips, n_samples))
        swell = np.abs(np.sin(np.linspace(0.0, 3 * np.pi, n_samples)))
        return list((noise * swell).astype(np.float32))
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".wav", ".flac", ".ogg", ".mp3"))
    if not paths:
        raise ConfigError(f"{folder} holds no .wav, .flac, .ogg or .mp3 file")
    return [np.resize(read_audio(path, RATE)[0], n_samples) for path in paths[:n_clips]]


def compare(student, teacher, clips, n_turns, n_threads):
    """Median times of both, a turn each, one after the other.

    Returns
    -------
    dict
        ``student`` and ``teacher``: ``median_ms``, ``words`` (per caption), ``n_parameters``.
    """
    models, times = {"student": student, "teacher": teacher}, {"student": [], "teacher": []}
    for turn in range(n_turns):
        for name, model in models.items():
            for clip in clips:
                taken = measure_latency(
                    lambda wav, own=model: own.caption([wav], RATE),
                    torch.from_numpy(clip),
                    n_repeats=1,
                    n_warmup=int(turn == 0),
                    n_threads=n_threads,
                )
                times[name].append(taken["median_ms"])
    said = {name: model.caption([torch.from_numpy(clip) for clip in clips], RATE) for name, model in models.items()}
    return {
        name: {
            "median_ms": statistics.median(times[name]),
            "words_per_caption": statistics.mean(len(caption.split()) for caption in said[name]),
            "n_parameters": count_parameters(model),
        }
        for name, model in models.items()
    }


def main(words):
    """Load, time in turns, write; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("student", "teacher"):
        kinds = "captioner (a run of ours), effb2_trm, wavcaps_htsat_bart or text_captioner"
        parser.add_argument(f"--{name}", required=True, metavar="KIND", help=kinds)
        parser.add_argument(f"--{name}_weights", required=True, metavar="PATH", help="its file, or a run's folder")
    parser.add_argument("--audio", type=Path, metavar="FOLDER", help="real clips (default: one of noise)")
    parser.add_argument("--clip_s", type=float, default=10.0, help="length of a clip in seconds (default: %(default)s)")
    parser.add_argument("--n_clips", type=int, default=1, help="different clips (default: %(default)s)")
    parser.add_argument("--turns", type=int, default=5, help="times that each clip is captioned (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="threads of the CPU (default: %(default)s)")
    parser.add_argument("--output_folder", required=True, type=Path, help="metrics.json goes there")
    options = parser.parse_args(words)
    if min(options.turns, options.n_clips, options.threads) < 1 or options.clip_s <= 0:
        raise ConfigError("--turns, --n_clips and --threads are at least 1, --clip_s is above 0")
    student = make_teacher(options.student, weights=options.student_weights).load()
    teacher = make_teacher(options.teacher, weights=options.teacher_weights).load()
    clips = clips_of(options.audio, options.clip_s, options.n_clips)
    times = compare(student, teacher, clips, options.turns, options.threads)
    for measured in times.values():
        measured["real_time_factor"] = measured["median_ms"] / 1e3 / options.clip_s
    value = times["teacher"]["median_ms"] / times["student"]["median_ms"]
    record = {
        "dataset": "noise" if options.audio is None else "recordings",
        "split": "none",
        "options": {name: getattr(options, name) for name in ("clip_s", "n_clips", "turns", "threads")},
        "metric": "times as fast as its teacher",
        "value": value,
        "interval_95": None,
        "n_items": len(clips),
        "times": times,
        "model": {"kind": options.student, "weights": options.student_weights},
        "seed": SEED,
        **provenance("cpu"),
    }
    options.output_folder.mkdir(parents=True, exist_ok=True)
    write_json(options.output_folder / "metrics.json", record)
    shown = ", ".join(f"{name} {measured['median_ms']:.1f} ms" for name, measured in times.items())
    print(f"{value:.1f} times as fast: {shown} for {options.clip_s:g} s")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except TinyclapError as error:
        sys.exit(f"{type(error).__name__}: {error}")

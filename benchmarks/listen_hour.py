#!/usr/bin/env python3
"""An hour heard by `tinyclap listen`: the same timeline whatever the pieces, memory, speed, and how good it is.

    python benchmarks/listen_hour.py --esc50 /data/ESC-50-master [--urbansound8k /data/UrbanSound8K] [--model NAME]

The hour is a bed of soft pink noise with clips at known places: of ESC-50's fold 5, of which the shipped model's
background of ordinary sound has none, and between them clips of UrbanSound8K's fold 2 whose classes nobody listens for.
Without --esc50 the sounds are synthesised. The command hears it as a file in pieces of 0.1, 1 and 60 s, and through a
pipe that is written in pieces of odd sizes; the CSV files are compared byte for byte. Then the stored scores are read
with other thresholds, and events are compared with the known places. The record is written to --output.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import harness  # noqa: F401 - makes tinyclap importable from a checkout
import numpy as np
import soundfile

from data_prep.signals import colored_noise

RATE = 44100
COLLAR_S = 1.0
DISTRACTORS = ("air_conditioner", "children_playing", "drilling", "engine_idling", "jackhammer", "street_music")
RATES = (0.001, 0.002, 0.005, 0.01, 0.02)
PROBABILITIES = (0.3, 0.5, 0.7, 0.9)


def real_clips(esc50, urbansound8k):
    """(label or None, path) of the clips to be placed."""
    rows = [line.split(",") for line in (esc50 / "meta/esc50.csv").read_text("utf-8").splitlines()[1:]]
    clips = [(row[3].replace("_", " "), esc50 / "audio" / row[0]) for row in rows if row[1] == "5"]
    if urbansound8k is not None:
        table = (urbansound8k / "metadata/UrbanSound8K.csv").read_text("utf-8").splitlines()[1:]
        rows = [line.split(",") for line in table]
        others = [
            (None, urbansound8k / "audio/fold2" / row[0]) for row in rows if row[5] == "2" and row[7] in DISTRACTORS
        ]
        clips += others[:: max(1, len(others) // 100)]
    return [(label, path) for label, path in clips if path.is_file()]


def synthesised(name, rng):
    """A clip of 3 s of a synthesised sound."""
    from data_prep.soundscapes_synthesis import synthesize

    return synthesize(name, rng, 3 * RATE, RATE)


def samples_of(clip, rng):
    """One clip at RATE at -20 dB, its silent ends cut off."""
    from tinyclap.audio.io import read_audio

    wav = read_audio(clip, RATE)[0] if isinstance(clip, Path) else synthesised(clip, rng)
    loud = np.abs(wav) > 0.01 * np.abs(wav).max()
    wav = wav[np.argmax(loud) : len(wav) - np.argmax(loud[::-1])]
    return 0.1 * wav / max(1e-9, float(np.sqrt(np.mean(np.square(wav, dtype=np.float64)))))


def build(path, clips, hours, seed=0):
    """Write the recording; returns the places: list of (onset_s, offset_s, label)."""
    rng = np.random.default_rng(seed)
    n = round(hours * 3600 * RATE)
    wav = np.concatenate(
        [0.003 * colored_noise(rng, RATE * 60, RATE, slope_db=-3) for _ in range(-(-n // (RATE * 60)))]
    )[:n]
    places, at, order = [], round(3 * RATE), []
    while True:
        order = order or list(rng.permutation(len(clips)))
        label, clip = clips[order.pop()]
        sound = samples_of(clip, rng)
        if at + len(sound) > n:
            break
        wav[at : at + len(sound)] += np.clip(sound, -0.9, 0.9)
        if label is not None:
            places.append((at / RATE, (at + len(sound)) / RATE, label))
        # one in five begins before the last one ends
        overlap = rng.uniform(0.2, 0.8) * len(sound) if rng.random() < 0.2 else -rng.uniform(2, 12) * RATE
        at += len(sound) - round(overlap)
    with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16") as file:
        for start in range(0, n, RATE * 60):
            file.write(np.clip(wav[start : start + RATE * 60], -1, 1))
    return places


def heard(command, out, stdin_file=None):
    """Run the command; returns seconds, resident MB at some parts of its time, its CSV's digest and last words."""
    began, memory = time.perf_counter(), []
    with open(out, "w", encoding="utf-8") as file:
        pipe = subprocess.PIPE if stdin_file else subprocess.DEVNULL
        path = os.pathsep.join([str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "PYTHONPATH": path}
        process = subprocess.Popen(command, stdin=pipe, stdout=file, stderr=subprocess.PIPE, env=environment)
        if stdin_file:
            threading.Thread(target=_feed, args=(stdin_file, process.stdin), daemon=True).start()
        while process.poll() is None:
            memory.append(_resident_mb(process.pid))
            time.sleep(0.05)
        words = process.stderr.read().decode().strip().splitlines()
    if process.returncode:
        raise SystemExit(f"{command}: status {process.returncode}: {words}")
    wall_s, memory = time.perf_counter() - began, [mb for mb in memory if mb]
    return {
        "wall_s": round(wall_s, 2),
        "resident_mb": {
            f"{part}%": memory[min(len(memory) - 1, len(memory) * part // 100)] for part in (25, 50, 75, 95)
        },
        "peak_mb": max(memory),
        "sha256": hashlib.sha256(Path(out).read_bytes()).hexdigest(),
        "says": words[-1],
    }


def _feed(path, pipe):
    """Write a file into a pipe in pieces of odd sizes."""
    rng = np.random.default_rng(0)
    with open(path, "rb") as file, pipe:
        while part := file.read(int(rng.integers(1, 200_000))):
            pipe.write(part)


def _resident_mb(pid):
    try:
        lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
    except OSError:
        return 0.0
    return next((round(int(line.split()[1]) / 1024, 1) for line in lines if line.startswith("VmRSS")), 0.0)


def events_of(content, thresholds, duration_s, **rule):
    """Events of stored scores."""
    from tinyclap.detection.events import EventFinder, EventRule

    finder = EventFinder([str(label) for label in content["labels"]], thresholds, EventRule(**rule))
    found = []
    for middle_s, scores in zip(content["middles_s"], content["scores"], strict=True):
        found += finder.push(float(middle_s), scores)
    return [(event.onset_s, event.offset_s, event.label) for event in found + finder.end(duration_s)]


def quality(found, places, duration_s):
    """How well events fit the known places: F1 of seconds, F1 of events, both over all labels together."""
    seconds = [_seconds(events, duration_s) for events in (found, places)]
    both, made, true = len(seconds[0] & seconds[1]), len(seconds[0]), len(seconds[1])
    hits, left = 0, list(places)
    for onset, _, label in sorted(found):
        near = [place for place in left if place[2] == label and abs(place[0] - onset) <= COLLAR_S]
        if near:
            hits += 1
            left.remove(min(near, key=lambda place: abs(place[0] - onset)))
    return {
        "n_events": len(found),
        "second_precision": round(both / max(1, made), 3),
        "second_recall": round(both / max(1, true), 3),
        "second_f1": round(2 * both / max(1, made + true), 3),
        "onset_f1": round(2 * hits / max(1, len(found) + len(places)), 3),
        "false_seconds_per_hour": round((made - both) / duration_s * 3600),
    }


def _seconds(events, duration_s):
    return {
        (second, label)
        for onset, offset, label in events
        for second in range(int(onset), min(int(np.ceil(offset)), int(duration_s) + 1))
    }


def qualities(model, content, places, duration_s):
    """Quality by way of deciding, and how many seconds the ordinary sound would give."""
    from tinyclap.detection.thresholds import background_embeddings, false_alarm_thresholds, fixed_thresholds

    names = [str(label) for label in content["labels"]]
    rows, smooth = background_embeddings(model), {"merge_gap_s": 1.0}
    result = {}
    if rows is not None:
        ordinary = model.score_rows(rows, model.label_vectors(names)[1])
        for rate in RATES:
            limits = false_alarm_thresholds(ordinary, rate, positive=model.score_kind == "sqrt_dot")
            for exclusive in (False, True):
                found = events_of(content, limits, duration_s, exclusive=exclusive, **smooth)
                result[f"false alarms {rate}{', exclusive' * exclusive}"] = quality(found, places, duration_s)
    if "temperature" in model.config.get("calibration", {}):
        probabilities = dict(content, scores=model.probabilities(content["scores"]))
        for probability in PROBABILITIES:
            limits = fixed_thresholds(len(names), probability, of_probabilities=True)
            result[f"probability {probability}"] = quality(
                events_of(probabilities, limits, duration_s, **smooth), places, duration_s
            )
    return result


def main():
    """Build, hear, compare; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--esc50", type=Path, help="the folder of ESC-50 (default: synthesised sounds)")
    parser.add_argument("--urbansound8k", type=Path, help="the folder of UrbanSound8K, for sounds nobody listens for")
    parser.add_argument("--model", default="tinyclap-phinet-m")
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--output", type=Path, default=Path("results/benchmarks/listen_hour.json"))
    parser.add_argument("--folder", help="keep recording and timelines here (default: a folder that is removed)")
    options = parser.parse_args()
    if options.esc50:
        clips = real_clips(options.esc50, options.urbansound8k)
    else:
        from data_prep.soundscapes_synthesis import SYNTHESIZERS

        clips = [(name.replace("_", " "), name) for name in SYNTHESIZERS]
    with tempfile.TemporaryDirectory() as scratch:
        record = measure(Path(options.folder or scratch), clips, options)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(record, indent=1))
    return 0 if record["all_equal"] else 1


def page_table(record):
    """The record as the tables of a page."""
    lines = ["| heard as | timeline | real-time factor | resident MB at 25, 50, 75, 95 % |", "|---|---|---|---|"]
    for name, run in record["runs"].items():
        memory = ", ".join(f"{mb:.0f}" for mb in run["resident_mb"].values())
        lines.append(f"| {name} | sha256 {run['sha256'][:8]}… | {record['real_time_factor'][name]:.4f} | {memory} |")
    lines += ["", "| heard is | events | F1 of seconds | precision | recall | F1 of beginnings | false s an hour |"]
    lines.append("|---|---|---|---|---|---|---|")
    for name, row in record["quality"].items():
        lines.append(
            f"| {name} | {row['n_events']} | {row['second_f1']:.3f} | {row['second_precision']:.3f} | "
            f"{row['second_recall']:.3f} | {row['onset_f1']:.3f} | {row['false_seconds_per_hour']} |"
        )
    lines += [
        "",
        f"{record['n_places']} clips of {record['n_labels']} labels in {record['hours']:g} h; {record['model']}.",
    ]
    return "\n".join(lines)


def measure(folder, clips, options):
    """The record of one recording."""
    from tinyclap.inference.pretrained import from_pretrained

    folder.mkdir(parents=True, exist_ok=True)
    wav, scores = folder / "hour.wav", folder / "scores.npz"
    places = build(wav, clips, options.hours)
    labels = ",".join(sorted({label for label, _ in clips if label}))
    command = [sys.executable, "-m", "tinyclap.cli.main", "listen", "--model", options.model, "--labels", labels]
    command += ["--threads", "1"]
    runs = {"file, --scores": heard([*command, str(wav), "--scores", str(scores)], folder / "scores.csv")}
    for chunk in ("0.1", "1", "60"):
        runs[f"file, pieces of {chunk} s"] = heard([*command, str(wav), "--chunk", chunk], folder / f"file_{chunk}.csv")
    runs["pipe"] = heard([*command, "-"], folder / "pipe.csv", wav)
    with np.load(scores) as file:
        content = dict(file)
    duration_s = options.hours * 3600
    model = from_pretrained(options.model)
    return {
        "benchmark": "listen_hour",
        "sounds": "ESC-50 fold 5" if options.esc50 else "synthesised",
        "distractors": "UrbanSound8K fold 2" if options.esc50 and options.urbansound8k else "none",
        "model": Path(options.model).name,
        "hours": options.hours,
        "n_places": len(places),
        "n_labels": len(content["labels"]),
        "cores": os.cpu_count(),
        "all_equal": len({run["sha256"] for run in runs.values()}) == 1,
        "real_time_factor": {name: round(run["wall_s"] / duration_s, 5) for name, run in runs.items()},
        "runs": runs,
        "quality": qualities(model, content, places, duration_s),
    }


if __name__ == "__main__":
    sys.exit(main())

"""Tiny corpora in their published layouts, and recordings with something wrong, for tests.

Every builder writes below a folder and returns the corpus' own folder, which has the published name. A clip is a tone
whose pitch tells its class, in a little noise. With ``full=True`` a table has its published number of rows, and its
recordings are hard links to one file.
"""

import csv
import json
import os
import struct
from pathlib import Path

import numpy as np
import soundfile

from data_prep import esc50_prepare, tut17_prepare, urbansound8k_prepare


def write_audio(path, duration_s=0.2, rate=8000, channels=1, subtype="PCM_16", pitch_hz=440.0, seed=0):
    """Write a tone in noise; returns the samples, (frames, channels)."""
    n = round(duration_s * rate)
    rng = np.random.default_rng(seed)
    tone = 0.3 * np.sin(2 * np.pi * pitch_hz * np.arange(n) / rate)
    samples = tone[:, None] + 0.02 * rng.standard_normal((n, channels))
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype=subtype)
    return samples


def bad_files(folder):
    """Recordings that are wrong, or unusual, by name: a dict of Path."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    unusual = {
        "stereo_24_bit": {"channels": 2, "subtype": "PCM_24", "rate": 44100},
        "rate_8k": {"rate": 8000},
        "short": {"duration_s": 0.05, "rate": 44100},
        "long": {"duration_s": 600.0, "rate": 4000},
        "whole": {"duration_s": 1.0, "rate": 16000},
    }
    for name, options in unusual.items():
        write_audio(folder / f"{name}.wav", **options)
    write_audio(folder / "whole.flac", duration_s=1.0, rate=16000)
    samples = np.zeros(1000, np.float32)
    samples[137] = np.nan
    soundfile.write(folder / "nan.wav", samples, 1000, subtype="FLOAT")
    samples[137] = np.inf
    soundfile.write(folder / "infinite.wav", samples, 1000, subtype="FLOAT")
    soundfile.write(folder / "no_samples.wav", np.zeros(0), 8000)
    contents = {
        "empty.wav": b"",
        "truncated.wav": (folder / "whole.wav").read_bytes()[:16044],
        "truncated.flac": (folder / "whole.flac").read_bytes()[:12000],
        "page.wav": b"<!DOCTYPE html><html>404 Not Found</html>",
        "noise.wav": bytes(range(1, 200)),
        "song.m4a": struct.pack(">I", 32) + b"ftypM4A " + bytes(64),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return {path.name if path.suffix != ".wav" else path.stem: path for path in folder.iterdir()}


class _Clips:
    """Writes recordings of one duration; with ``full``, links all to the first of each rate."""

    def __init__(self, duration_s, full=False, **options):
        self.duration_s, self.full, self.options = duration_s, full, options
        self.first = None
        self.count = 0

    def write(self, path, pitch_hz=440.0):
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.full and self.first is not None:
            os.link(self.first, path)
            return
        write_audio(path, self.duration_s, pitch_hz=pitch_hz, seed=self.count, **self.options)
        self.first = path
        self.count += 1


def write_table(path, rows, delimiter=",", encoding="utf-8", header=True):
    """Write dicts as a table with a header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding=encoding) as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        if header:
            writer.writeheader()
        writer.writerows(rows)


def _pitch(index):
    return 200.0 * 1.3 ** (index % 10)


def esc50(folder, classes=("dog", "rain", "siren"), folds=(1, 2, 3, 4, 5), n_per_fold=2, duration_s=0.2, full=False):
    """``ESC-50-master`` with some classes and folds, or with all 2000 rows."""
    root = Path(folder) / "ESC-50-master"
    if full:
        classes, folds, n_per_fold = esc50_prepare.CLASSES, esc50_prepare.FOLDS, 8
    clips = _Clips(duration_s, full, rate=8000)
    rows = []
    for name in classes:
        target = esc50_prepare.CLASSES.index(name)
        for fold in folds:
            for number in range(n_per_fold):
                sound_id = f"{target + 1}{fold}{number:03d}"
                filename = f"{fold}-{sound_id}-A-{target}.wav"
                clips.write(root / "audio" / filename, _pitch(target))
                row = {"filename": filename, "fold": fold, "target": target, "category": name}
                rows.append({**row, "esc10": False, "src_file": sound_id, "take": "A"})
    write_table(root / "meta/esc50.csv", rows)
    return root


def urbansound8k(folder, folds=(1, 2), n_per_class=2, duration_s=0.2, full=False):
    """``UrbanSound8K`` with some folds, or with all 8732 rows."""
    root = Path(folder) / "UrbanSound8K"
    counts = urbansound8k_prepare.N_IN_FOLD
    classes = urbansound8k_prepare.CLASSES
    clips = _Clips(duration_s, full, rate=8000, channels=2)
    rows = []
    for fold in counts if full else folds:
        for number in range(counts[fold] if full else n_per_class * len(classes)):
            class_id = number % len(classes)
            sound_id = 1000 * fold + number // 4
            filename = f"{sound_id}-{class_id}-0-{number}.wav"
            clips.write(root / f"audio/fold{fold}" / filename, _pitch(class_id))
            row = {"slice_file_name": filename, "fsID": sound_id, "start": 0.0, "end": duration_s, "salience": 1}
            rows.append({**row, "fold": fold, "classID": class_id, "class": classes[class_id]})
    write_table(root / "metadata/UrbanSound8K.csv", rows)
    return root


def tut17(folder, part="evaluation", n_per_class=4, duration_s=0.2, full=False):
    """``TUT-acoustic-scenes-2017-<part>`` as published: lists without headers, stereo, 24 bit."""
    root = Path(folder) / tut17_prepare.FOLDERS[part]
    n_per_class = tut17_prepare.N_PER_CLASS[part] if full else n_per_class
    clips = _Clips(duration_s, full, rate=44100, channels=2, subtype="PCM_24")
    lines, pairs, folds = [], [], {fold: [] for fold in tut17_prepare.FOLDS}
    for index, label in enumerate(tut17_prepare.CLASSES):
        for number in range(n_per_class):
            # Four places a class; the segments of one place are evaluated in one fold.
            place = number % 4
            original = f"audio/{chr(97 + index)}{place:03d}_{10 * number}_{10 * number + 10}.wav"
            path = original if part == "development" else f"audio/{len(lines) + 1}.wav"
            clips.write(root / path, _pitch(index))
            lines.append((path, label, Path(original).stem.split("_")[0]))
            pairs.append((original, path))
            folds[place + 1].append((path, label))
    setup = root / "evaluation_setup"
    setup.mkdir(parents=True)
    _write_lines(root / "meta.txt", lines)
    if part == "evaluation":
        _write_lines(setup / "evaluate.txt", [line[:2] for line in lines])
        _write_lines(setup / "test.txt", [line[:1] for line in lines])
        _write_lines(setup / "map.txt", pairs)
        return root
    for fold, evaluated in folds.items():
        train = [pair for other, pairs in folds.items() if other != fold for pair in pairs]
        _write_lines(setup / f"fold{fold}_train.txt", train)
        _write_lines(setup / f"fold{fold}_evaluate.txt", evaluated)
        _write_lines(setup / f"fold{fold}_test.txt", [pair[:1] for pair in evaluated])
    return root


def _write_lines(path, rows):
    path.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")


def clotho(folder, split="evaluation", n_clips=3, duration_s=0.3, full=False):
    """``clotho`` with one split; its metadata is Latin-1, as some published tables are."""
    root = Path(folder) / "clotho"
    n_clips = {"development": 3839, "validation": 1045, "evaluation": 1045}[split] if full else n_clips
    clips = _Clips(duration_s, full, rate=8000)
    captions, metadata = [], []
    for number in range(n_clips):
        name = f"Café, rain {number}.wav"
        clips.write(root / split / name, _pitch(number))
        sentences = {f"caption_{k}": f"Rain falls, {split} clip {number}, sentence {k}." for k in range(1, 6)}
        captions.append({"file_name": name, **sentences})
        sound_id = "Not found" if number == 1 else str(5000 + number)
        row = {"file_name": name, "keywords": "rain;café", "sound_id": sound_id, "sound_link": ""}
        metadata.append({**row, "start_end_samples": "[0, 1]", "manufacturer": "Zoë", "license": "CC0"})
    write_table(root / f"clotho_captions_{split}.csv", captions)
    write_table(root / f"clotho_metadata_{split}.csv", metadata, encoding="latin-1")
    return root


def audiocaps(folder, split="test", n_clips=4, n_present=3, duration_s=0.3):
    """``AudioCaps`` with one split: one caption a clip for train, five for the others; some audio is missing."""
    root = Path(folder) / "AudioCaps"
    clips = _Clips(duration_s, rate=8000)
    rows = []
    for sentence in range(1 if split == "train" else 5):
        for number in range(n_clips):
            row = {"audiocap_id": 100 * number + sentence, "youtube_id": f"{split[:2]}-_{number:07d}", "start_time": 30}
            rows.append({**row, "caption": f"A dog barks, clip {number}, sentence {sentence}"})
    write_table(root / f"{split}.csv", rows)
    (root / split).mkdir(parents=True, exist_ok=True)
    for number in range(n_present):
        clips.write(root / split / f"{split[:2]}-_{number:07d}.wav", _pitch(number))
    return root


def macs(folder, n_clips=3, duration_s=0.3, full=False):
    """``MACS`` with its YAML table and 24-bit stereo audio."""
    root = Path(folder) / "MACS"
    n_clips = 3930 if full else n_clips
    clips = _Clips(duration_s, full, rate=48000, channels=2, subtype="PCM_24")
    lines = ["files:"]
    for number in range(n_clips):
        name = f"park-vienna-{number // 2}-{number}-a.wav"
        clips.write(root / "audio" / name, _pitch(number))
        lines += [f"- filename: {name}", "  annotations:"]
        for annotator in range(2 + number % 4):
            lines += [f"  - annotator_id: {annotator}", f"    sentence: 'Birds sing: clip {number}, by {annotator}'"]
            lines += ["    tags:", "    - birds_singing"]
    root.mkdir(parents=True, exist_ok=True)
    (root / "MACS.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


def fsd50k(folder, part="dev", n_clips=4, duration_s=0.3):
    """``FSD50K`` with one part; each fourth clip of dev is for validation, and the second has no words."""
    root = Path(folder) / "FSD50K"
    clips = _Clips(duration_s, rate=44100)
    rows, infos = [], {}
    for number in range(n_clips):
        sound_id = str(700 + number)
        clips.write(root / f"FSD50K.{part}_audio" / f"{sound_id}.wav", _pitch(number))
        row = {"fname": sound_id, "labels": "Water_tap_and_faucet,Domestic_sounds_and_home_sounds", "mids": "/m/1,/m/2"}
        rows.append(row | ({"split": "val" if number % 4 == 3 else "train"} if part == "dev" else {}))
        title, text = (
            ("", "") if number == 1 else (f"tap_{number}.wav", f"A tap runs, clip {number}. http://x.org/{number}")
        )
        infos[sound_id] = {"title": title, "description": text, "tags": ["water"], "uploader": f"user{number // 2}"}
    write_table(root / f"FSD50K.ground_truth/{part}.csv", rows)
    path = root / f"FSD50K.metadata/{part}_clips_info_FSD50K.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(infos), encoding="utf-8")
    return root

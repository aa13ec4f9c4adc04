#!/usr/bin/env python3
"""The page in headless Chromium beside Python: scores, captions, times, and what its parts weigh.

    python benchmarks/page.py --recordings recordings/ [--n_clips 32] [--output benchmarks/results/page.json]

Recordings are converted to WAV (16 bit, their own rate and channels) and each is given to the page as a file, with the
words that stand there; Python classifies the same files. Needs the extra `browser` and the system's Chromium.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import harness  # noqa: F401 - makes tinyclap importable from a checkout
import soundfile

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "demo"))

import build  # noqa: E402
import screenshot  # noqa: E402

import tinyclap  # noqa: E402
from tinyclap.audio.cpu import n_cores, processor  # noqa: E402
from tinyclap.audio.find import find_recordings  # noqa: E402
from tinyclap.audio.io import read_channels  # noqa: E402
from tinyclap.config.shipped import DEFAULT_CAPTIONER  # noqa: E402

RESULT = ROOT / "benchmarks" / "results" / "page.json"
OTHER_WORDS = "a cat meows, thunder, footsteps"
PARTS = {
    "onnxruntime-web (WebAssembly)": ("ort/",),
    "network and front end": ("models/audio/model.onnx", "models/audio/front_end.onnx"),
    "text side (any words)": ("models/audio/text", "models/audio/tag_space"),
    "captioner": ("models/captioner/",),
    "all": ("",),
}


def main():
    """Measure, and write the record; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", nargs="+", required=True, help="recordings and folders of them")
    parser.add_argument("--n_clips", type=int, default=32, help="how many, spread over all (default: 32)")
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()
    found = [str(path) for path in find_recordings(options.recordings)]
    chosen = found[:: max(1, len(found) // options.n_clips)][: options.n_clips]
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        site = scratch / "dist"
        build.build(out=site)
        record = {
            "n_clips": len(chosen),
            "processor": processor(),
            "n_cores": n_cores(),
            "parts_bytes": {name: weight(site, starts) for name, starts in PARTS.items()},
            **heard(site, [as_wav(path, scratch / f"{index:03d}.wav") for index, path in enumerate(chosen)]),
        }
    options.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(record, indent=1))
    return 0


def weight(site, starts):
    """Bytes of the files whose names begin so."""
    files = {path.relative_to(site).as_posix(): path.stat().st_size for path in site.rglob("*") if path.is_file()}
    return sum(size for name, size in files.items() if name.startswith(starts))


def as_wav(path, target):
    """The recording as a WAV file of 16 bits."""
    channels, rate_hz = read_channels(path)
    soundfile.write(target, channels.T, rate_hz, subtype="PCM_16")
    return target


def heard(site, paths):
    """What page and Python say of the recordings, and how long the page takes."""
    model, captioner = tinyclap.from_pretrained(), tinyclap.from_pretrained(DEFAULT_CAPTIONER)
    differences, same_label, same_caption, times = [], 0, 0, {"clip_s": [], "caption_s": []}
    with screenshot.served(site) as (address, _), screenshot.browser() as opened:
        starts = [start(opened, address) for _ in range(5)]
        page = screenshot.open_page(opened.new_context(), address)
        words = [" ".join(name.split()) for name in page.input_value("#own").split(",")]
        for path in paths:
            begin = time.perf_counter()
            screenshot.give(page, path)
            times["clip_s"].append(time.perf_counter() - begin)
            rows = page.locator("#bars li").all()
            said = {row.get_attribute("data-label"): float(row.get_attribute("data-score")) for row in rows}
            wanted = dict(model.classify(str(path), words, top=len(words), scores=True)[0])
            differences.append(max(abs(score - wanted[label]) for label, score in said.items()))
            same_label += next(iter(said)) == next(iter(wanted))
            begin = time.perf_counter()
            page.click("#describe")
            page.wait_for_function("document.getElementById('caption').textContent.length > 1")
            times["caption_s"].append(time.perf_counter() - begin)
            same_caption += page.text_content("#caption") == captioner.caption(str(path))[0]
    return {
        "greatest_difference": max(differences),
        "same_label": same_label,
        "same_caption": same_caption,
        "ready_s": round(statistics.median(ready for ready, _ in starts), 2),
        "other_words_s": round(statistics.median(other for _, other in starts), 2),
        **{name: round(statistics.median(found), 3) for name, found in times.items()},
    }


def start(opened, address):
    """Seconds from a new visitor's address to "Ready", and then to words that are not compiled."""
    context, begin = opened.new_context(), time.perf_counter()
    page = screenshot.open_page(context, address)
    ready, begin = time.perf_counter() - begin, time.perf_counter()
    page.fill("#own", OTHER_WORDS)
    page.click("#apply")
    page.wait_for_function("document.getElementById('words-note').textContent.startsWith('3 ')")
    other = time.perf_counter() - begin
    context.close()
    return ready, other


def docs_table(path):
    """The record for a page."""
    record = json.loads(Path(path).read_text(encoding="utf-8"))
    lines = ["| part | MB |", "|---|---|"]
    lines += [f"| {name} | {size / 1e6:.1f} |" for name, size in record["parts_bytes"].items()]
    text = (
        "{n_clips} real recordings as WAV, beside Python: scores differ by {greatest_difference:.1e} at most; the same "
        "best label {same_label} times, the same caption {same_caption} times. A first visit from this machine is "
        "ready after {ready_s:.1f} s; words that are not compiled take {other_words_s:.1f} s once, a recording "
        "{clip_s:.2f} s, a caption {caption_s:.2f} s (medians; {n_cores} cores of an {processor})."
    )
    return "\n".join([*lines, "", text.format_map(record)])


if __name__ == "__main__":
    sys.exit(main())

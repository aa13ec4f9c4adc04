"""How much a clip's embedding depends on what should not matter: how it is stored, given, batched and computed.

Each case makes the same clips in another way and compares their embeddings with those of the files one by one. What is
not the same sound any more (a lossy codec, a delay) is reported apart.

    python benchmarks/invariance.py --recordings /data/ESC-50-master/audio
    python benchmarks/invariance.py --recordings /data/ESC-50-master/audio --checkpoint weights/tinyclap-phinet-m

Without recordings, clips are synthesised. `docs_table` turns the written JSON into the page's table.
"""

import argparse
import json
import platform
import sys
import tempfile
from importlib import metadata
from pathlib import Path

import numpy as np
import soundfile
import soxr

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tinyclap  # noqa: E402
from data_prep.soundscapes_synthesis import synthesize  # noqa: E402
from tinyclap.audio.batch import embed_many  # noqa: E402
from tinyclap.audio.find import find_recordings  # noqa: E402
from tinyclap.audio.io import read_channels  # noqa: E402
from tinyclap.detection.resample import stream_resampler  # noqa: E402
from tinyclap.errors import ConfigError, TinyclapError  # noqa: E402
from tinyclap.text.bank import ready_bank  # noqa: E402
from tinyclap.text.scores import l2_normalise  # noqa: E402

_SYNTHESISED = ("dog_bark", "cat_meow", "siren", "rain", "church_bell", "clock_tick", "footsteps", "telephone_ring")
SAME, ENGINE, OTHER = "the same samples", "the same samples, another computation", "nearly the same sound"


class Clips:
    """The clips of a measurement, and a folder for their copies.

    Arguments
    ---------
    paths : list of str
        One channel, 16 bit WAV.
    folder : pathlib.Path
    """

    def __init__(self, paths, folder):
        self.paths, self.folder = paths, folder
        self.sounds = [(channels[0], rate_hz) for channels, rate_hz in map(read_channels, paths)]

    def written(self, name, change, suffix=".wav", subtype="PCM_16"):
        """Paths of copies; ``change(samples, rate_hz)`` → samples (T,) or (T, channels), rate."""
        (self.folder / name).mkdir()
        paths = [self.folder / name / f"{index:03d}{suffix}" for index in range(len(self.paths))]
        for path, sound in zip(paths, self.sounds, strict=True):
            samples, rate_hz = change(*sound)
            soundfile.write(path, samples, rate_hz, subtype=subtype)
        return paths


def main():
    """Measure, print, and write a JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", nargs="+", help="recordings and folders of them; default: synthesised")
    parser.add_argument("--name", help="what the JSON calls them (default: the folder's name)")
    parser.add_argument("--clips", type=int, default=48, help="how many, spread over all (default: 48)")
    parser.add_argument("--model", default="tinyclap-phinet-m")
    parser.add_argument("--checkpoint", help="the same model's run or saved folder, for torch")
    parser.add_argument("--output", default="benchmarks/results/invariance.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "clips").mkdir()
        clips = Clips(chosen(options, Path(scratch)), Path(scratch))
        result = measure(clips, options)
    output = Path(options.output)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(docs_table(output))


def chosen(options, scratch):
    """Paths of the clips: some of those given, as 16 bit WAV of one channel, or synthesised ones."""
    if options.recordings:
        found = list(find_recordings(options.recordings))
        found = found[:: max(1, len(found) // options.clips)][: options.clips]
        sounds = [(channels[0], rate_hz) for channels, rate_hz in map(read_channels, found)]
    else:
        sounds = [
            (synthesize(_SYNTHESISED[index % len(_SYNTHESISED)], np.random.default_rng(index), 5 * 44100, 44100), 44100)
            for index in range(options.clips)
        ]
    paths = []
    for index, (samples, rate_hz) in enumerate(sounds):
        paths.append(str(scratch / "clips" / f"{index:03d}.wav"))
        soundfile.write(paths[-1], samples, rate_hz, subtype="PCM_16")
    return paths


def measure(clips, options):
    """All cases: what is written."""
    model = tinyclap.from_pretrained(options.model, n_threads=1)
    try:
        vectors = ready_bank("esc50", options.model).vectors
    except TinyclapError:
        vectors = model.label_vectors()[1]
    reference = alone(model, clips.paths)
    rows = []
    for group, name, make, *base in [
        *same_cases(model, clips),
        *engine_cases(model, options, clips),
        *other_cases(model, clips),
    ]:
        try:
            found = make()
        except ConfigError as error:
            print(f"left out: {name}: {error}", file=sys.stderr)
            continue
        rows.append({"group": group, "case": name, **compared(base[0]() if base else reference, found, model, vectors)})
    versions = {name: _version(name) for name in ("numpy", "soundfile", "soxr", "onnxruntime", "openvino", "torch")}
    return {
        "model": options.model,
        "clips": options.name or (Path(options.recordings[0]).name if options.recordings else "synthesised"),
        "n_clips": len(clips.paths),
        "rate_hz": sorted({rate_hz for _, rate_hz in clips.sounds}),
        "n_labels": len(vectors),
        "versions": {"python": platform.python_version(), **versions, "libsndfile": soundfile.__libsndfile_version__},
        "cases": rows,
    }


def alone(model, paths):
    """Each recording by itself: (B, D)."""
    return np.concatenate([model.embed(path) for path in paths])


def same_cases(model, clips):
    """Ways to give the same samples."""

    def stored(name, change, **how):
        return lambda: alone(model, clips.written(name, change, **how))

    def finer(samples, rate_hz):
        return 0.7071 * samples, rate_hz

    def arrays():
        return np.concatenate([model.embed(samples, rate_hz) for samples, rate_hz in clips.sounds])

    def integers():
        sounds = [(np.round(samples * 32768).astype(np.int16), rate_hz) for samples, rate_hz in clips.sounds]
        return np.concatenate([model.embed(samples, rate_hz) for samples, rate_hz in sounds])

    return [
        (SAME, "the file once more", lambda: alone(model, clips.paths)),
        (SAME, "array of floats", arrays),
        (SAME, "array of 16 bit integers", integers),
        (SAME, "all in one call", lambda: model.embed(clips.paths)),
        (SAME, "with others of other lengths", lambda: among_others(model, clips)),
        (SAME, "two at a time, in threads", lambda: threaded(model, clips)),
        (SAME, "stereo, both channels alike", stored("stereo", lambda wav, rate: (np.stack([wav, wav], 1), rate))),
        (SAME, "24 bit", stored("pcm24", lambda *sound: sound, subtype="PCM_24")),
        (SAME, "32 bit floats", stored("float", lambda *sound: sound, subtype="FLOAT")),
        (SAME, "FLAC", stored("flac", lambda *sound: sound, suffix=".flac")),
        (
            OTHER,
            "a finer recording (24 bit) rounded to 16 bit",
            stored("rounded", finer),
            stored("finer", finer, subtype="PCM_24"),
        ),
    ]


def engine_cases(model, options, clips):
    """Other computations of the same samples."""

    def engine(**how):
        return lambda: alone(tinyclap.from_pretrained(options.model, **how), clips.paths)

    cases = [
        (ENGINE, "two threads in place of one", engine(n_threads=2)),
        (ENGINE, "resampled in pieces of 0.1 s, as a stream is", lambda: streamed(model, clips, 0.1)),
        (ENGINE, "OpenVINO in place of onnxruntime", engine(engine="openvino", precision="fp32", n_threads=1)),
    ]
    if options.checkpoint:
        cases.append((ENGINE, "torch", lambda: alone(tinyclap.from_pretrained(options.checkpoint), clips.paths)))
    return cases


def other_cases(model, clips):
    """Copies that are not quite the same sound."""

    def at_rate(to_hz):
        def change(samples, rate_hz):
            return soxr.resample(samples, rate_hz, to_hz, quality="VHQ"), to_hz

        return lambda: alone(model, clips.written(f"rate_{to_hz}", change, subtype="FLOAT"))

    def delayed(seconds):
        def change(samples, rate_hz):
            n_samples = round(seconds * rate_hz)
            return np.concatenate([np.zeros(n_samples, np.float32), samples])[: len(samples)], rate_hz

        return lambda: alone(model, clips.written(f"delay_{seconds}", change))

    def coded(suffix, subtype):
        return lambda: alone(model, clips.written(suffix[1:], lambda *sound: sound, suffix, subtype))

    return [
        (OTHER, "resampled to 48 kHz (soxr VHQ)", at_rate(48000)),
        (OTHER, "resampled to 96 kHz (soxr VHQ)", at_rate(96000)),
        (OTHER, f"resampled to {model.sample_rate_hz / 1000:g} kHz (soxr VHQ)", at_rate(model.sample_rate_hz)),
        (OTHER, "OGG Vorbis", coded(".ogg", "VORBIS")),
        (OTHER, "MP3", coded(".mp3", "MPEG_LAYER_III")),
        (OTHER, "delayed by 1 ms", delayed(0.001)),
        (OTHER, "delayed by 100 ms", delayed(0.1)),
    ]


def among_others(model, clips):
    """Each clip in one call with a shorter and a longer one."""
    rows = []
    for samples, rate_hz in clips.sounds:
        rows.append(model.embed([samples[: len(samples) // 3], samples, np.tile(samples, 3)], rate_hz)[1])
    return np.stack(rows)


def threaded(model, clips):
    """As a folder of recordings is embedded."""
    return np.stack([row for _, row in embed_many(model, clips.paths, n_workers=2)])


def streamed(model, clips, piece_s):
    """Each clip resampled piece by piece."""
    rows = []
    for samples, rate_hz in clips.sounds:
        resampler = stream_resampler(rate_hz, model.sample_rate_hz, model.backend.config["resampler"])
        size = round(piece_s * rate_hz)
        pieces = [resampler.push(samples[first : first + size]) for first in range(0, len(samples), size)]
        rows.append(model.embed(np.concatenate([*pieces, resampler.end()]), model.sample_rate_hz)[0])
    return np.stack(rows)


def compared(base, found, model, vectors):
    """How far two sets of embeddings of the same clips are apart."""
    scores = [model.score_rows(rows, vectors) for rows in (base, found)]
    cosines = np.sum(l2_normalise(base.astype(np.float64)) * l2_normalise(found.astype(np.float64)), axis=1)
    return {
        "identical": int((base == found).all(axis=1).sum()),
        "max_abs": float(np.abs(base - found).max()),
        "min_cosine": float(cosines.min()),
        "max_abs_score": float(np.abs(scores[0] - scores[1]).max()),
        "same_label": int((scores[0].argmax(axis=1) == scores[1].argmax(axis=1)).sum()),
    }


def docs_table(path):
    """The written JSON as a Markdown table."""
    result = json.loads(Path(path).read_text(encoding="utf-8"))
    n_clips = result["n_clips"]
    lines = [
        f"{n_clips} clips of {result['clips']}, `{result['model']}`; label: the best of {result['n_labels']}.",
        "",
        "| the same clip as | bit for bit | greatest difference | least cosine | same label |",
        "|---|---|---|---|---|",
    ]
    for group in (SAME, ENGINE, OTHER):
        lines.append(f"| **{group}** | | | | |")
        for case in (case for case in result["cases"] if case["group"] == group):
            lines.append(
                f"| {case['case']} | {case['identical']} of {n_clips} | {case['max_abs']:.1e} | "
                f"{case['min_cosine']:.6f} | {case['same_label']} of {n_clips} |"
            )
    return "\n".join(lines)


def _version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()

"""Soundscapes: the built-in corpus, synthesised here: scenes of one or two of twenty everyday sounds, with captions.

Source: none but this project's own code. It is the default of the demonstration and of tests: no download, no licence
but the project's. This script alone writes into its ``data_folder``.
"""

import sys
import zlib
from pathlib import Path
from typing import NamedTuple

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import soundfile
from tqdm import tqdm

from data_prep import cli, common, signals, soundscapes_captions, soundscapes_synthesis
from data_prep.signals import colored_noise, equalize
from data_prep.soundscapes_captions import captions_of
from data_prep.soundscapes_synthesis import SYNTHESIZERS, synthesize
from tinyclap.errors import ConfigError
from tinyclap.files import atomic_path

CORPUS = common.Corpus(
    dataset="soundscapes",
    title="Soundscapes (built-in)",
    version="1",
    page="nowhere: python data_prep/soundscapes_prepare.py writes it",
    licence="Apache-2.0, as the code that synthesises it",
    tree="""
{data_folder}/
  {split}/{index}_{key}.flac   mono, 16 bit; `key` stands for the options and the code that made the sound
""",
)
CLASSES = tuple(SYNTHESIZERS)
N_CAPTIONS = 3
# How much the recorders differ: so much up or down in each octave.
RECORDER_DB = 10.0


class Scene(NamedTuple):
    """What is heard: classes, their relation, and for each (gain in dB, where it begins and ends, as shares)."""

    events: tuple
    relation: str
    placement: tuple
    noise_db: float
    peak_db: float


def prepare_soundscapes(
    data_folder: str,
    manifest_folder: str,
    split: str = "train",
    n_scenes: int = 1000,
    n_events: int | None = None,
    n_per_class: int | None = None,
    seed: int = 1234,
    duration_s: float = 2.0,
    sample_rate_hz: int = 44100,
) -> None:
    """Synthesise what is not there yet, and write the manifest ``soundscapes_<split>.json``.

    Arguments
    ---------
    data_folder : str
        Where the sounds go, in a folder for each split.
    manifest_folder : str
        Where the manifest goes.
    split : str
        Name of the split; each has scenes of its own.
    n_scenes : int
        How many; scene i is the same however many there are.
    n_events : int or None
        1: one event in each scene, the classes in turn, and items have a label; 2: two events; None: one or two.
    n_per_class : int or None
        Sets n_scenes to so many of each class, and n_events to 1: a split for classification.
    seed : int
        Zero or more. Another seed, other scenes.
    duration_s : float
        Length of a scene, 0.25 to 60 s.
    sample_rate_hz : int
        8000 to 96000 Hz.

    Raises
    ------
    tinyclap.errors.ConfigError
        An option is out of its range.

    Notes
    -----
    Scene i of a split is drawn from a generator seeded by (seed, split, i). A file's name carries a digest of the
    options and the code, so a killed run goes on where it stopped, and other options never meet old files.
    """
    if n_per_class is not None:
        n_scenes, n_events = n_per_class * len(CLASSES), 1
    _check_options(n_scenes, n_events, seed, duration_s, sample_rate_hz)
    sound = {"n_events": n_events, "seed": seed, "duration_s": duration_s, "sample_rate_hz": sample_rate_hz}
    code = [__file__, soundscapes_synthesis.__file__, signals.__file__]
    preparation = common.Preparation(CORPUS, [*code, soundscapes_captions.__file__], data_folder, ".", split)
    key = f"{zlib.crc32(f'{sorted(sound.items())} {common.digest_of(code)}'.encode()):08x}"
    paths = [preparation.root / str(split) / f"{index:06d}_{key}.flac" for index in range(n_scenes)]
    absent = [index for index, path in enumerate(paths) if not path.exists()]
    if absent:
        common.LOGGER.info("synthesising %d of %d scenes into %s", len(absent), n_scenes, paths[0].parent)
    for index in tqdm(absent, "synthesis", delay=2, disable=None, leave=False):
        rng = _generator(seed, split, index, "sound")
        scene = draw_scene(rng, index, n_events)
        _write(
            paths[index], render_scene(rng, scene, round(duration_s * sample_rate_hz), sample_rate_hz), sample_rate_hz
        )
    if preparation.unchanged(manifest_folder, split, {**sound, "n_scenes": n_scenes}, (), [str(split)]):
        return
    rows = {}
    for index, path in enumerate(paths):
        scene = draw_scene(_generator(seed, split, index, "sound"), index, n_events)
        captions = captions_of(_generator(seed, split, index, "captions"), scene.events, scene.relation, N_CAPTIONS)
        label = scene.events[0] if n_events == 1 else None
        facts = {"label": label, "captions": captions, "events": list(scene.events), "relation": scene.relation}
        rows[f"{split}/{index:06d}"] = {"path": path, **facts}
    preparation.write(preparation.build_items(rows), CLASSES)


def draw_scene(rng, index, n_events=None):
    """Draw from `rng` what is heard in scene `index`, of `n_events` (None: one or two).

    The first class goes round in turn, so that splits are balanced.

    Example
    -------
    >>> draw_scene(np.random.default_rng(0), 4, n_events=1).events
    ('siren',)
    """
    first = CLASSES[index % len(CLASSES)]
    noise_db, peak_db = float(rng.uniform(-42, -14)), float(rng.uniform(-15, -1))
    n_drawn = n_events or int(rng.integers(1, 3))
    if n_drawn == 1:
        begin = float(rng.choice([0.0, rng.uniform(0, 0.35)]))
        return Scene((first,), "alone", ((0.0, begin, 1.0),), noise_db, peak_db)
    second = str(rng.choice([name for name in CLASSES if name != first]))
    relation = str(rng.choice(["together", "faint", "in turn"]))
    if relation == "in turn":
        change = float(rng.uniform(0.4, 0.6))
        placement = ((0.0, 0.0, change), (float(rng.uniform(-4, 2)), change, 1.0))
    else:
        gain_db = float(rng.uniform(-3, 3) if relation == "together" else rng.uniform(-14, -8))
        placement = ((0.0, 0.0, 1.0), (gain_db, 0.0, 1.0))
    return Scene((first, second), relation, placement, noise_db, peak_db)


def render_scene(rng, scene, n_samples, sample_rate_hz):
    """The sound of a scene.

    Arguments
    ---------
    rng : numpy.random.Generator
    scene : Scene
    n_samples, sample_rate_hz : int

    Returns
    -------
    numpy.ndarray, shape (n_samples,), float32
        Peak of ``scene.peak_db`` relative to full scale.
    """
    slope_db = float(rng.uniform(-5, 0))
    wav = colored_noise(rng, n_samples, sample_rate_hz, 40, 12000, slope_db) * np.float32(10 ** (scene.noise_db / 20))
    for name, (gain_db, begin, end) in zip(scene.events, scene.placement, strict=True):
        start, stop = round(begin * n_samples), round(end * n_samples)
        event = synthesize(name, rng, stop - start, sample_rate_hz)
        fade = min(len(event) // 2, round(0.01 * sample_rate_hz))
        if fade and stop < n_samples:
            event[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
        wav[start:stop] += event * np.float32(10 ** (gain_db / 20))
    wav = equalize(rng, wav, sample_rate_hz, RECORDER_DB)
    return wav * np.float32(10 ** (scene.peak_db / 20) / max(float(np.abs(wav).max()), 1e-9))


def _generator(seed, split, index, purpose):
    return np.random.default_rng([seed, zlib.crc32(str(split).encode()), index, zlib.crc32(purpose.encode())])


def _write(path, wav, sample_rate_hz):
    """Write one FLAC file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path, flush=False) as part:
        soundfile.write(part, wav, sample_rate_hz, subtype="PCM_16", format="FLAC")


def _check_options(n_scenes, n_events, seed, duration_s, sample_rate_hz):
    """Raise one ConfigError that names every option out of its range."""
    problems = []
    if n_scenes < 1:
        problems.append(f"n_scenes is {n_scenes}; it must be 1 or more")
    if n_events not in (None, 1, 2):
        problems.append(f"n_events is {n_events!r}; it can be 1, 2 or None (either)")
    if seed < 0:
        problems.append(f"seed is {seed}; it must be 0 or more")
    if not 0.25 <= duration_s <= 60:
        problems.append(f"duration_s is {duration_s}; it must lie in 0.25 to 60 s")
    if not 8000 <= sample_rate_hz <= 96000:
        problems.append(f"sample_rate_hz is {sample_rate_hz}; it must lie in 8000 to 96000 Hz")
    if problems:
        raise ConfigError("soundscapes: " + "; ".join(problems))


if __name__ == "__main__":
    sys.exit(cli.run(prepare_soundscapes))

"""Calibration of an exported folder on training audio: temperature of its scores, and background embeddings."""

from pathlib import Path

import numpy as np

from tinyclap.audio.io import read_audio
from tinyclap.audio.resample import resample_array
from tinyclap.checkpoints.folder import amend
from tinyclap.data.manifest import read_manifest
from tinyclap.errors import ConfigError
from tinyclap.metrics.recordings import find_recordings
from tinyclap.runtime import load
from tinyclap.text.scores import score

BACKGROUND = "background.npz"
WINDOW_S, N_WINDOWS = 2.0, 500
_TEMPERATURES = np.geomspace(1e-3, 1e2, 2001)


def add_temperature(folder, given, embed_names):
    """Fit the temperature of the softmax over labels, and note it in an exported folder as ``calibration`` (returned).

    `given` are labelled recordings, each a ``MANIFEST.json@FOLDER`` of the same weight (without labels: ConfigError),
    `embed_names` maps a list of str to (N, D), as the folder's scores want them.
    """
    model, scored, names, n_clips = load(folder), [], [], 0
    for one in given:
        found = find_recordings(one)
        if not found.labels:
            raise ConfigError(f"--temperature_audio {one}: no labels; give a manifest of a labelled corpus")
        rows = np.concatenate([model.embed_many([path]) for path in found.paths])
        scores = score(rows, embed_names(found.classes), model.config["score"])
        scored.append((scores, np.array([found.classes.index(label) for label in found.labels])))
        names.append(_what(one, found))
        n_clips += len(found.paths)
    temperature, loss = best_temperature(scored)
    about = {"temperature": temperature, "fitted_on": "; ".join(names), "n_clips": n_clips, "log_loss": loss}
    amend(folder, calibration=about)
    return about


def best_temperature(scored):
    """The temperature at which the softmax of scores has the minimum log loss, and that mean loss in nats.

    `scored` has a pair a corpus: scores (B, N) and true classes (B,). The grid: 0.001 to 100 in steps of 0.6 %.

    Example
    -------
    >>> scores = np.log(np.array([[0.8, 0.2]] * 5))
    >>> temperature, loss = best_temperature([(3 * scores, np.array([0, 0, 0, 0, 1]))])
    >>> round(temperature, 1), round(loss, 2)
    (3.0, 0.5)
    """
    losses = [np.mean([_log_loss(scores / t, truth) for scores, truth in scored]) for t in _TEMPERATURES]
    return float(_TEMPERATURES[np.argmin(losses)]), float(np.min(losses))


def _log_loss(scores, truth):
    scores = scores - scores.max(axis=1, keepdims=True)
    return float(np.mean(np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(len(truth)), truth]))


def add_background(folder, given, n_windows=N_WINDOWS, seed=0):
    """Write background embeddings, which tell how rare a score is for any label: (n_windows, D), float16.

    Arguments
    ---------
    folder : str or os.PathLike. An exported folder.
    given : list of str. Training recordings, as of ``find_recordings``; each place gives as many windows.
    n_windows : int. In all, of 2 s, each from a random place of a random recording.
    seed : int
    """
    model, generator, rows, names = load(folder), np.random.default_rng(seed), [], []
    for index, one in enumerate(given):
        found = find_recordings(one)
        n_here = len(range(index, n_windows, len(given)))
        n_rounds = -(-n_here // len(found.paths))
        order = [place for _ in range(n_rounds) for place in generator.permutation(len(found.paths))]
        rows += [_window_row(model, found.paths[place], generator) for place in order[:n_here]]
        names.append(_what(one, found))
    rows = np.stack(rows).astype(np.float16)
    np.savez_compressed(Path(folder) / BACKGROUND, rows=rows)
    amend(folder, [BACKGROUND], background=BACKGROUND, background_of="; ".join(names))
    return rows


def _window_row(model, path, generator):
    """The embedding (D,) of :data:`WINDOW_S` from a random place, as the model's policy makes a window of them."""
    wav, rate_hz = read_audio(path)
    wav = resample_array(wav, rate_hz, model.sample_rate_hz, model.config["resampler"])
    length = round(WINDOW_S * model.sample_rate_hz)
    first = int(generator.integers(max(len(wav) - length, 0) + 1))
    window = model.policy.cut(wav[first : first + length], model.sample_rate_hz)[0]
    return model.embed_windows(window[None])[0]


def _what(given, found):
    """Name of a place of recordings: the corpus with the options of its preparation, or the folder."""
    manifest, _, root = str(given).partition("@")
    if not manifest.endswith(".json"):
        return found.name
    meta, _ = read_manifest(manifest, root)
    folds = meta["options"].get("folds")
    if not folds:
        return f"{meta['dataset']}, {meta['split']}"
    return f"{meta['dataset']}, fold{'s' if len(folds) > 1 else ''} {', '.join(map(str, folds))}"

"""How far an exported model is from its network, on golden clips and on recordings: differences, cosines, decisions."""

import numpy as np

from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.text.scores import l2_normalise, score

# of fp32: an FFT front end and the exported one differ by rounding, see tinyclap.export.log_mel
MAX_RELATIVE_ERROR = 1e-3
_SECONDS = 0.6


def golden_clips(sample_rate_hz, longest_s, seed=0):
    """Synthetic clips that use every path of the runtime: another rate, two channels, shorter and longer than a window.

    For a network of this rate and window length: list of (int16 samples (T,) or (2, T), rate in Hz).

    Example
    -------
    >>> [(clip.shape, rate) for clip, rate in golden_clips(32000, 10.0)]
    [((19200,), 32000), ((2, 26460), 44100), ((104000,), 8000)]
    """
    generator = np.random.default_rng(seed)
    other_hz = 44100 if sample_rate_hz != 44100 else 48000
    shapes = [((round(_SECONDS * sample_rate_hz),), sample_rate_hz), ((2, round(_SECONDS * other_hz)), other_hz)]
    return [(_sound(generator, *each), each[1]) for each in [*shapes, ((round((longest_s + 3) * 8000),), 8000)]]


def _sound(generator, shape, rate_hz):
    """A rising tone in noise that comes and goes."""
    time_s = np.arange(shape[-1]) / rate_hz
    tone = np.sin(2 * np.pi * (200 + 600 * time_s) * time_s)
    noise = generator.standard_normal(shape) * np.abs(np.sin(3 * time_s))
    return np.clip(8000 * tone + 3000 * noise, -32768, 32767).astype(np.int16)


def outputs_of(describe, clips):
    """Outputs of single clips, joined: dict of str to (B, ·) array.

    `describe` takes a list of one clip (path or array) and its rate (None of a path); `clips` are such pairs.
    """
    parts = [describe([clip], rate_hz) for clip, rate_hz in clips]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def compare(found, reference):
    """How far rows (B, D) are from reference rows.

    A dict of ``max_abs``, ``relative`` (‖found − reference‖ / ‖reference‖) and ``cosine`` (``mean``, ``min`` and
    ``by_clip``, a list of B).

    Example
    -------
    >>> compare(np.array([[1.0, 0.0]]), np.array([[1.0, 0.0]]))["cosine"]["min"]
    1.0
    """
    found, reference = np.asarray(found, np.float64), np.asarray(reference, np.float64)
    cosine = (l2_normalise(found) * l2_normalise(reference)).sum(-1)
    by_clip = [round(float(value), 6) for value in cosine]
    return {
        "max_abs": float(np.abs(found - reference).max()),
        "relative": float(np.linalg.norm(found - reference) / max(np.linalg.norm(reference), 1e-30)),
        "cosine": {"mean": float(cosine.mean()), "min": float(cosine.min()), "by_clip": by_clip},
    }


def decisions(found, reference, vectors=None, kind=None, classes=(), labels=()):
    """``agreement`` of classes in [0, 1]; with labels ``accuracy``, ``reference_accuracy``, ``accuracy_drop_points``.

    Arguments
    ---------
    found, reference : numpy.ndarray, shape (B, D). Rows that are compared with classes: probabilities or embeddings.
    vectors : numpy.ndarray, shape (N, D), optional. The classes'; without them the entries of the rows are the classes.
    kind : str, optional. Of the score; see :func:`tinyclap.text.scores.score`.
    classes, labels : sequence of str. Names of the N classes, and the true one of each clip, where known.

    Example
    -------
    >>> rows = np.eye(2)
    >>> decisions(rows[:, ::-1], rows, rows, "cosine", ["dog", "rain"], ["dog", "rain"])["accuracy_drop_points"]
    100.0
    """
    ours, theirs = ((rows if vectors is None else score(rows, vectors, kind)).argmax(-1) for rows in (found, reference))
    report = {"agreement": float((ours == theirs).mean())}
    if len(labels):
        truth = np.array([list(classes).index(label) for label in labels])
        accuracy, before = float((ours == truth).mean()), float((theirs == truth).mean())
        report |= {"accuracy": accuracy, "reference_accuracy": before}
        report["accuracy_drop_points"] = round(100 * (before - accuracy), 6)
    return report


def require_exact(report):
    """Raise a CheckpointError where the fp32 graphs (their `report` in ``parity.json``) are not the network."""
    for name, part in {"golden": report["golden"], **report["recordings"]}.items():
        error = max(each["relative"] for each in part.values() if isinstance(each, dict) and "relative" in each)
        if error > MAX_RELATIVE_ERROR:
            raise CheckpointError(f"{name}: the fp32 graph is {error:.2g} away from the network; report this")
    agreement = report["golden"].get("decisions", {}).get("agreement", 1.0)
    if agreement < 1:
        raise CheckpointError(f"{100 * agreement:.0f} % of the golden captions equal the network's; report this")


def refuse(precision, reports, max_accuracy_drop, min_cosine):
    """Raise a ConfigError, with every limit that is broken, where a precision loses more than is allowed.

    Arguments
    ---------
    precision : str
    reports : dict of str to dict. Set of clips → ``embedding`` of :func:`compare` with ``decisions`` beside it.
    max_accuracy_drop : float. In points of top-1 accuracy; where labels are unknown, in percent of changed decisions.
    min_cosine : float. Minimum of the mean cosine with the network's own outputs.
    """
    problems = []
    for name, report in reports.items():
        found, cosine = report["decisions"], report["embedding"]["cosine"]["mean"]
        points = found.get("accuracy_drop_points", 100 * (1 - found["agreement"]))
        if points > max_accuracy_drop:
            what = "accuracy falls" if "accuracy" in found else "decisions change"
            problems.append(f"{name}: {what} by {points:.2f} points, allowed are {max_accuracy_drop:g}")
        if cosine < min_cosine:
            problems.append(f"{name}: mean cosine {cosine:.4f}, at least {min_cosine:g} is wanted")
    if problems:
        raise ConfigError(
            f"{precision} is refused, nothing was written: {'; '.join(problems)}. Calibrate on more clips or by "
            "another --calibration_method, leave it out of --precisions, or say --force"
        )

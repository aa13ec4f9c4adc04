"""How far an exported model is from the network it was made of, on real clips: differences, directions, decisions."""

import numpy as np

from tinyclap.audio.io import read_audio
from tinyclap.errors import ConfigError
from tinyclap.text.scores import score, unit_rows

# of fp32: an FFT front end and the exported one differ by rounding, see tinyclap.export.log_mel
MAX_RELATIVE_ERROR = 1e-3


def reference_outputs(source, paths):
    """What the network itself says of recordings: dict of output name to (B, ·) float32."""
    rows = {}
    for path in paths:
        wav, rate_hz = read_audio(path)
        for name, row in source.outputs(wav[None], rate_hz).items():
            rows.setdefault(name, []).append(row.cpu().numpy())
    return {name: np.concatenate(parts) for name, parts in rows.items()}


def runtime_outputs(model, paths):
    """The same of the exported model."""
    parts = [model.outputs([path]) for path in paths]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def compare(found, reference):
    """How far rows are from reference rows.

    Arguments
    ---------
    found, reference : numpy.ndarray, shape (B, D)

    Returns
    -------
    dict
        ``max_abs``, ``relative`` (‖found − reference‖ / ‖reference‖), ``cosine`` (``mean``, ``min``, and ``by_clip``,
        a list of B).

    Example
    -------
    >>> compare(np.array([[1.0, 0.0]]), np.array([[1.0, 0.0]]))["cosine"]["min"]
    1.0
    """
    found, reference = np.asarray(found, np.float64), np.asarray(reference, np.float64)
    cosine = (unit_rows(found) * unit_rows(reference)).sum(-1)
    return {
        "max_abs": float(np.abs(found - reference).max()),
        "relative": float(np.linalg.norm(found - reference) / max(np.linalg.norm(reference), 1e-30)),
        "cosine": {
            "mean": float(cosine.mean()),
            "min": float(cosine.min()),
            "by_clip": [round(float(value), 6) for value in cosine],
        },
    }


def decisions(found, reference, vectors=None, kind=None, classes=(), labels=()):
    """Whether both name the same class, and the right one where it is known.

    Arguments
    ---------
    found, reference : numpy.ndarray, shape (B, D)
        Rows that are compared with classes: probabilities or embeddings.
    vectors : numpy.ndarray, shape (N, D), optional
        The classes'; without them the entries of the rows are the classes.
    kind : str, optional
        Of the score; see :func:`tinyclap.teachers.score`.
    classes, labels : sequence of str
        Names of the N classes, and the true one of each clip, where known.

    Returns
    -------
    dict
        ``agreement`` in [0, 1]; with labels also ``accuracy``, ``reference_accuracy`` and ``accuracy_drop_points``.

    Example
    -------
    >>> rows = np.eye(2)
    >>> decisions(rows[:, ::-1], rows, rows, "cosine", ["dog", "rain"], ["dog", "rain"])["accuracy_drop_points"]
    100.0
    """
    ours, theirs = ((rows if vectors is None else score(rows, vectors, kind)).argmax(-1) for rows in (found, reference))
    said = {"agreement": float((ours == theirs).mean())}
    if len(labels):
        truth = np.array([list(classes).index(label) for label in labels])
        accuracy, before = (
            float((ours == truth).mean()),
            float((theirs == truth).mean()),
        )
        said |= {
            "accuracy": accuracy,
            "reference_accuracy": before,
            "accuracy_drop_points": round(100 * (before - accuracy), 6),
        }
    return said


def loss_points(report):
    """Points of accuracy that a precision loses on a set of clips; the share of changed decisions where no label is."""
    said = report["decisions"]
    return said.get("accuracy_drop_points", 100 * (1 - said["agreement"]))


def refuse(precision, reports, max_accuracy_drop, min_cosine):
    """Raise where a precision loses more than is allowed.

    Arguments
    ---------
    precision : str
    reports : dict of str to dict
        Set of clips → ``embedding`` of :func:`compare` with ``decisions`` beside it.
    max_accuracy_drop : float
        In points of top-1 accuracy; where labels are unknown, in hundredths of changed decisions.
    min_cosine : float
        Least mean cosine with the network's own outputs.

    Raises
    ------
    ConfigError
        With every limit that is broken.
    """
    problems = []
    for name, report in reports.items():
        points, cosine = loss_points(report), report["embedding"]["cosine"]["mean"]
        if points > max_accuracy_drop:
            what = "accuracy falls" if "accuracy" in report["decisions"] else "decisions change"
            problems.append(f"{name}: {what} by {points:.2f} points, allowed are {max_accuracy_drop:g}")
        if cosine < min_cosine:
            problems.append(f"{name}: mean cosine {cosine:.4f}, at least {min_cosine:g} is wanted")
    if problems:
        raise ConfigError(
            f"{precision} is refused, nothing was written: {'; '.join(problems)}. Calibrate on more clips or by "
            "another --calibration_method, leave it out of --precisions, or say --force"
        )

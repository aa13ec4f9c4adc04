"""Scores of audio embeddings against label embeddings, their softmax and the best names. numpy alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tinyclap.errors import ConfigError

SCORE_KINDS = ("cosine", "dot", "sqrt_dot")


def l2_normalise(rows: Any) -> Any:
    """L2-normalise rows (…, D); a row of zeros stays one."""
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)


def softmax_rows(logits: Any, temperature: float = 1.0) -> Any:
    """Softmax of each row of logits or scores (…, N)."""
    logits = np.asarray(logits)
    powers = np.exp((logits - logits.max(axis=-1, keepdims=True)) / temperature)
    return powers / powers.sum(axis=-1, keepdims=True)


def audio_side(rows: Any, kind: str) -> Any:
    """Audio embeddings (B, D) in the form whose dot product with a label embedding is the score.

    By `kind`: "cosine", L2-normalised; "dot", unchanged; "sqrt_dot", square roots of embeddings that are probabilities.
    """
    if kind == "cosine":
        return l2_normalise(rows)
    if kind == "sqrt_dot":
        return np.sqrt(np.maximum(rows, 0))
    if kind != "dot":
        raise ConfigError(f"score kind {kind!r} is unknown; choose one of {', '.join(SCORE_KINDS)}")
    return rows


def score(audio: Any, text: Any, kind: str) -> Any:
    """Scores of audio embeddings (B, D) and label embeddings (N, D): (B, N); `kind` as for :func:`audio_side`."""
    if audio.shape[-1:] != text.shape[-1:]:
        raise ConfigError(f"embeddings of shape {audio.shape} and of labels {text.shape} are of different dimensions")
    return audio_side(audio, kind) @ (l2_normalise(text) if kind == "cosine" else text).T


def ranked(
    scores: np.ndarray, names: Sequence[str], top: int, only: Iterable[str] | None = None
) -> list[list[tuple[str, float]]]:
    """The best names of each row of scores: list of list of (str, float), best first.

    Arguments
    ---------
    scores : numpy.ndarray, shape (B, N)
    names : list of str, N of them
    top : int. Maximum number for each row.
    only : list of str, optional. Choose among these names.
    """
    among = [index for index, name in enumerate(names) if only is None or name in only]
    rows = []
    for row in scores[:, among]:
        best = np.argsort(-row, kind="stable")[:top]
        rows.append([(names[among[index]], float(row[index])) for index in best])
    return rows

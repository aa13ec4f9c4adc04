"""Scores of audio embeddings against label embeddings, their softmax and the best names. numpy alone."""

import numpy as np


def unit_rows(rows):
    """Rows (B, D) divided by their lengths; a row of zeros stays one.

    Example
    -------
    >>> unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.6, 0.8], [0.0, 0.0]]
    """
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)


def softmax_rows(logits, temperature=1.0):
    """Shares of logits or scores (B, N), rows that add up to 1.

    Example
    -------
    >>> softmax_rows(np.log([[1.0, 3.0]])).round(2).tolist()
    [[0.25, 0.75]]
    """
    powers = np.exp((logits - logits.max(axis=1, keepdims=True)) / temperature)
    return powers / powers.sum(axis=1, keepdims=True)


def score(audio, text, kind):
    """How well each text (N, D) fits each clip (B, D), as :func:`tinyclap.teachers.score` does it: (B, N).

    Example
    -------
    >>> score(np.array([[4.0, 0.0]]), np.array([[1.0, 0.0], [1.0, 1.0]]), "sqrt_dot").tolist()
    [[2.0, 2.0]]
    """
    if kind == "cosine":
        return unit_rows(audio) @ unit_rows(text).T
    return (np.sqrt(np.maximum(audio, 0)) if kind == "sqrt_dot" else audio) @ text.T


def ranked(scores, names, top, only=None):
    """The best names of each row of scores.

    Arguments
    ---------
    scores : numpy.ndarray, shape (B, N)
    names : list of str, N of them
    top : int
        How many to give, at most.
    only : list of str, optional
        Choose among these of the names.

    Returns
    -------
    list of list of (str, float)
        Best first.

    Example
    -------
    >>> ranked(np.array([[0.1, 0.9, 0.5]]), ["dog", "rain", "siren"], 2)
    [[('rain', 0.9), ('siren', 0.5)]]
    """
    among = [index for index, name in enumerate(names) if only is None or name in only]
    rows = []
    for row in scores[:, among]:
        best = np.argsort(-row, kind="stable")[:top]
        rows.append([(names[among[index]], float(row[index])) for index in best])
    return rows

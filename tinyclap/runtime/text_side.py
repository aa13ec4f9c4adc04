"""Text side of an exported folder: ONNX text tower and tokenizer, from labels or sentences to embeddings. No torch.

``"embedding"``: a tower that shares its space with audio; ``"tag_space"``: a sentence encoder whose sentences become
soft choices among a tagger's labels, as in :mod:`tinyclap.teachers.tag_text`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinyclap.checkpoints.folder import checked_file
from tinyclap.errors import CheckpointError
from tinyclap.runtime.session import open_session
from tinyclap.text.scores import l2_normalise, softmax_rows
from tinyclap.text.word_ids import WordIds
from tinyclap.text.word_pieces import WordPieces

if TYPE_CHECKING:
    from tinyclap.runtime.session import Session

TEXT_GRAPH, VOCABULARY, TAG_SPACE = "text.onnx", "text_vocabulary.txt", "tag_space.npz"
_BATCH_SIZE = 64


def open_text_side(folder: str | os.PathLike[str], config: dict[str, Any], n_threads: int | None = None) -> TextSide:
    """Open the :class:`TextSide` of an exported folder with this ``config.json``; `n_threads` None takes all cores."""
    about = config["text"]
    if about["kind"] not in ("embedding", "tag_space"):
        raise CheckpointError(f"{folder}: a text side of the kind {about['kind']!r}; install a later tinyclap")
    session = open_session(checked_file(folder, config, about["graph"]), n_threads=n_threads, level="basic")
    vocabulary = checked_file(folder, config, about["vocabulary"]) if "vocabulary" in about else None
    tower = TextTower(session, tokenizer_of(about, vocabulary))
    space = None
    if about["kind"] == "tag_space":
        with np.load(checked_file(folder, config, about["tag_space"])) as content:
            space = TagSpace(**content, temperature=about["temperature"], prior_floor=about["prior_floor"])
    return TextSide(tower, about, space)


class TextSide:
    """Class prompts → label embeddings, by a TextTower (`tower`) and, in a tag space, a TagSpace (`space`).

    `about` is ``config["text"]``. ``identity`` has ``name`` and ``sha256`` of the tower's weights before export.
    """

    def __init__(self, tower: TextTower, about: dict[str, Any], space: TagSpace | None = None) -> None:
        self.tower, self.tokenizer, self._space, self._kept = tower, tower.tokenizer, space, about.get("kept")
        self.default_templates, self.identity = tuple(about["templates"]), about["identity"]
        self.score_kind = "cosine" if space is None else "sqrt_dot"

    def embed_classes(self, prompts: Sequence[Sequence[str]]) -> np.ndarray:
        """Prompts (list of list of str, N × K) → mean embedding of each class, (N, D) float32.

        L2-normalised where scores are cosines; in a tag space ≥ 0, see :class:`TagSpace`.
        """
        rows = self.tower([prompt for of_class in prompts for prompt in of_class])
        ends = np.cumsum([len(of_class) for of_class in prompts])[:-1]
        rows = l2_normalise(np.stack([part.mean(axis=0) for part in np.split(rows, ends)]))
        if self._space is not None:
            rows = self._space(rows)
        if self._kept is not None:
            rows = rows[:, self._kept] if self._space is not None else l2_normalise(rows[:, self._kept])
        return rows

    def embed_text(self, texts: Sequence[str]) -> np.ndarray:
        """Sentences without a template → (N, D), float32."""
        return self.embed_classes([[text] for text in texts])


class TagSpace:
    """Sentence embeddings as soft choices among a tagger's labels.

    Arguments
    ---------
    readings : numpy.ndarray, shape (R, E). L2-normalised embeddings of the labels and of their parts.
    owners : numpy.ndarray, shape (R,), int. Label of each reading, ascending; every label has at least one.
    prior : numpy.ndarray, shape (K,) or (0,). Mean probability of each label over unlabelled clips, where known.
    temperature, prior_floor : float. See :class:`tinyclap.teachers.tag_text.TagSpaceText`.

    Example
    -------
    >>> space = TagSpace(np.eye(2), np.array([0, 1]), np.array([0.0, 0.24]), temperature=1.0, prior_floor=0.01)
    >>> space(np.array([[1.0, 1.0]], np.float32)).tolist()
    [[5.0, 1.0]]
    """

    def __init__(
        self, readings: np.ndarray, owners: np.ndarray, prior: np.ndarray, temperature: float, prior_floor: float
    ) -> None:
        self._readings, self._temperature = readings.astype(np.float32), temperature
        self._starts = np.searchsorted(owners, np.arange(owners[-1] + 1))
        self._weights = 1 / np.sqrt(prior + prior_floor) if len(prior) else np.ones(len(self._starts))

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """L2-normalised embeddings (N, E) → probabilities of labels over √(prior + floor): (N, K), float32."""
        best = np.maximum.reduceat(rows @ self._readings.T, self._starts, axis=1)
        return (softmax_rows(best, self._temperature) * self._weights).astype(np.float32)


class TextTower:
    """Texts → L2-normalised embeddings, by the `session` of ``text.onnx`` and a `tokenizer` (WordIds or WordPieces)."""

    def __init__(self, session: Session, tokenizer: WordIds | WordPieces) -> None:
        self._session, self.tokenizer = session, tokenizer

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Embed texts (list of str, N of them; repeated ones once): (N, E), float32."""
        different = list(dict.fromkeys(texts))
        tokens = self.tokenizer(different)
        # batches of similar length need little padding
        order = sorted(range(len(different)), key=lambda index: len(tokens[index]))
        rows: dict[str, np.ndarray] = {}
        for first in range(0, len(order), _BATCH_SIZE):
            part = order[first : first + _BATCH_SIZE]
            found = self._session.run(padded([tokens[index] for index in part], self.tokenizer.pad_id))[0]
            rows.update(zip((different[index] for index in part), found, strict=True))
        return np.stack([rows[text] for text in texts])


def padded(tokens: Sequence[Sequence[int]], pad_id: int) -> dict[str, np.ndarray]:
    """Inputs of a text graph: dict of ``input_ids`` and ``attention_mask``, both (N, L) int64.

    Example
    -------
    >>> {name: array.tolist() for name, array in padded([[7], [8, 9]], 0).items()}
    {'input_ids': [[7, 0], [8, 9]], 'attention_mask': [[1, 0], [1, 1]]}
    """
    ids = np.full((len(tokens), max(map(len, tokens))), pad_id, np.int64)
    mask = np.zeros_like(ids)
    for row, numbers in enumerate(tokens):
        ids[row, : len(numbers)], mask[row, : len(numbers)] = numbers, 1
    return {"input_ids": ids, "attention_mask": mask}


def tokenizer_of(about: dict[str, Any], vocabulary: Any) -> WordIds | WordPieces:
    """The WordIds or WordPieces of ``config["text"]`` and its vocabulary file (None where word ids are hashes)."""
    if about["tokenizer"] == "hashed words":
        return WordIds(None, about["max_tokens"], about["n_buckets"])
    if about["tokenizer"] == "words":
        return WordIds(vocabulary.read_text(encoding="utf-8").splitlines(), about["max_tokens"])
    return WordPieces(vocabulary, about["max_tokens"])

"""Captions without audio: tables of captions, and batches of captions of similar length."""

import csv
import functools
import zlib
from pathlib import Path

import numpy as np
import torch

from tinyclap.data.batches import Batch, EpochDataset, collate
from tinyclap.data.vocabulary import report_words
from tinyclap.errors import ConfigError, ManifestError
from tinyclap.text.events import split_events
from tinyclap.text.tokenizer import WordTokenizer, caption_words


class CaptionTexts:
    """The training captions of a run, of those `tables` that have a ``folder``.

    A table is a dict: ``name`` of a corpus, for which the captioner keeps a style; ``file``, a CSV table in ``folder``
    or one of its folders; ``columns`` of captions; ``group``, the column of the recording, which is held out whole.
    """

    def __init__(self, tables):
        self.tables = [table for table in tables if table["folder"] is not None]
        self.styles = [table["name"] for table in self.tables]
        if not self.tables:
            keys = ", ".join(f"--{table['name']}_folder" for table in tables)
            raise ConfigError(f"no captions are named: give the folder of one or more of: {keys}")
        if len(set(self.styles)) != len(self.styles):
            raise ConfigError(f"two tables of captions have one name: {', '.join(self.styles)}")
        self._read = None

    def prepare(self):
        """Read every table: captions, their recordings, and the places (N,) of their tables."""
        if self._read is None:
            rows = [(*row, style) for style, table in enumerate(self.tables) for row in _read_table(**table)]
            if not rows:
                raise ManifestError(f"the tables of {', '.join(self.styles)} hold no caption")
            captions, groups, styles = zip(*rows, strict=True)
            self._read = list(captions), groups, np.array(styles)
        return self._read

    def captions(self):
        """All captions in the order of the tables."""
        return self.prepare()[0]

    def events(self):
        """The events of every caption; see :func:`split_events`."""
        return [split_events(caption) for caption in self.captions()]

    def describe(self):
        """Names and sizes, JSON-able, for the run's record."""
        counts = zip(self.tables, np.bincount(self.prepare()[2], minlength=len(self.tables)).tolist(), strict=True)
        return [{"name": table["name"], "file": table["file"], "n_captions": count} for table, count in counts]


def _read_table(name, folder, file, columns, group):
    """List of (caption, recording), or one ManifestError with all problems."""
    path = Path(folder) / file
    found = [path] if path.is_file() else list(Path(folder).glob(f"*/{file}"))
    if len(found) != 1:
        raise ManifestError(f"no table {path}; give the folder of {name} that has {file}")
    (path,) = found
    try:
        with open(path, newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines)
            rows, header = list(enumerate(reader, 2)), reader.fieldnames or []
    except (UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"{path} is not a CSV table in UTF-8 ({error}); fetch it again") from error
    if absent := [column for column in (*columns, group) if column not in header]:
        raise ManifestError(f"{path} has no column {', '.join(absent)}; it has {', '.join(header)}")
    # an unquoted comma shifts the cells of its row
    problems = [f"row {n} has {len(row[None])} cell(s) too many" for n, row in rows if row.get(None)]
    cells = [(n, row[column] or "", row[group]) for n, row in rows for column in columns]
    problems += [f"row {n} has an empty caption" for n, caption, _ in cells if not caption_words(caption)]
    if problems:
        raise ManifestError(f"{path}: {len(problems)} problem(s): {'; '.join(problems[:5])}. Fix or remove these rows")
    return [(" ".join(caption.split()), f"{name}/{recording}") for _, caption, recording in cells]


def make_text_sets(texts, evidence, vocabulary, seed, batch_size, max_words=20, valid_fraction=0.02):
    """``train`` and ``valid``: datasets of whole batches of captions of similar length, drawn anew in every epoch.

    A batch has ``ids``, ``style`` (the corpus) and ``facts``. Load with ``batch_size: 1``.

    Arguments
    ---------
    texts : CaptionTexts
    evidence : object. With ``take(indices (B,)) -> tuple of torch.Tensor``.
    vocabulary : str or os.PathLike. See :meth:`tinyclap.text.tokenizer.WordTokenizer.load`.
    seed, batch_size, max_words : int. Longer captions are cut.
    valid_fraction : float. Fraction of the recordings whose captions are held out, in (0, 1).
    """
    tokenizer = WordTokenizer.load(vocabulary)
    captions, groups, styles = texts.prepare()
    held = np.array([zlib.crc32(group.encode()) / 2**32 < valid_fraction for group in groups])
    train, valid = np.flatnonzero(~held), np.flatnonzero(held)
    if not len(train) or not len(valid):
        leaves = f"leaves {len(train)} captions to train on and {len(valid)} to validate on"
        raise ManifestError(f"valid_fraction={valid_fraction} {leaves}, of {len(captions)}; change it")
    report_words({f"the captions, {len(valid)} of them held out": captions}, tokenizer, max_words)
    rows = [{"ids": np.array(tokenizer.encode(caption, max_words)), "pad_id": tokenizer.pad_id} for caption in captions]
    make = functools.partial(_TextBatches, rows, styles, evidence, batch_size, seed)
    return {"train": make(train, is_training=True), "valid": make(valid, is_training=False)}


class _TextBatches(EpochDataset):
    """Batches of the captions at `indices`; those of validation are the same in every epoch."""

    def __init__(self, rows, styles, evidence, batch_size, seed, indices, is_training):
        self.rows, self.styles, self.evidence, self.indices = rows, styles, evidence, indices
        self.batch_size, self.seed, self.is_training = batch_size, seed, is_training
        self.lengths = np.array([len(rows[index]["ids"]) for index in indices])
        self._epoch, self._plan = None, None

    def __len__(self):
        return -(-len(self.indices) // self.batch_size)

    def example(self, epoch, index):
        """A whole batch."""
        chosen = self._batches(epoch if self.is_training else 0)[index]
        ids = collate([self.rows[place] for place in chosen]).ids
        return Batch(ids=ids, style=torch.from_numpy(self.styles[chosen]), facts=self.evidence.take(chosen))

    def _batches(self, epoch):
        """The captions of each batch of an epoch."""
        if epoch != self._epoch:
            random = np.random.default_rng([self.seed, epoch])
            by_length = self.indices[np.argsort(self.lengths + random.random(len(self.indices)), kind="stable")]
            batches = np.split(by_length, range(self.batch_size, len(by_length), self.batch_size))
            order = random.permutation(len(batches)) if self.is_training else range(len(batches))
            self._epoch, self._plan = epoch, [batches[place] for place in order]
        return self._plan

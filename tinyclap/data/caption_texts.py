"""Captions without audio: tables of captions, and batches of captions of similar length.

A batch is a function of (seed, epoch, index), so a resumed run sees the same batches as an unbroken one.
"""

import csv
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from tinyclap.data.batches import Batch, EpochDataset, collate
from tinyclap.data.vocabulary import report_words
from tinyclap.errors import ConfigError, ManifestError
from tinyclap.text.events import split_events
from tinyclap.text.tokenizer import WordTokenizer, caption_words

_N_SHOWN = 5


class CaptionTable(NamedTuple):
    """A CSV table of one corpus' captions."""

    name: str  # of the corpus; the captioner keeps a style for each name
    folder: str | None  # where the table is, or the folder around that
    file: str
    columns: list  # those that hold captions
    group: str  # the column that names the recording, whose captions stay on one side of validation

    def read(self):
        """List of (recording, caption), or one ManifestError with all problems."""
        folder, path = Path(self.folder), Path(self.folder) / self.file
        found = [path] if path.is_file() else list(folder.glob(f"*/{self.file}"))  # the folder around it will do
        if len(found) != 1:
            raise ManifestError(f"no table {path}; give the folder of {self.name} that has {self.file}")
        (path,) = found
        try:
            with open(path, newline="", encoding="utf-8-sig") as file:
                reader = csv.DictReader(file)
                rows, header = list(reader), reader.fieldnames or []
        except (UnicodeDecodeError, csv.Error) as error:
            raise ManifestError(f"{path} is not a CSV table in UTF-8 ({error}); fetch it again") from error
        absent = [column for column in (*self.columns, self.group) if column not in header]
        if absent:
            raise ManifestError(f"{path} has no column {', '.join(absent)}; it has {', '.join(header)}")
        # an unquoted comma shifts the cells of its row
        wide = [f"row {n} has {len(row[None])} cell(s) too many" for n, row in enumerate(rows, 2) if row.get(None)]
        pairs = [(n, row[self.group], row[column]) for n, row in enumerate(rows, 2) for column in self.columns]
        empty = [f"row {n} has an empty caption" for n, _, caption in pairs if not caption_words(caption or "")]
        if problems := [*wide, *empty]:
            shown = "; ".join(problems[:_N_SHOWN])
            raise ManifestError(f"{path}: {len(problems)} problem(s): {shown}. Fix or remove these rows")
        return [(f"{self.name}/{recording}", " ".join(caption.split())) for _, recording, caption in pairs]


class CaptionTexts:
    """The training captions of a run, of those `tables` (arguments of :class:`CaptionTable`) that have a folder."""

    def __init__(self, tables):
        self.tables = [CaptionTable(**table) for table in tables if table["folder"] is not None]
        self.styles = [table.name for table in self.tables]
        if not self.tables:
            keys = ", ".join(f"--{table['name']}_folder" for table in tables)
            raise ConfigError(f"no captions are named: give the folder of one or more of: {keys}")
        if len(set(self.styles)) != len(self.styles):
            raise ConfigError(f"two tables of captions have one name: {', '.join(self.styles)}")
        self._read = None

    def prepare(self):
        """Read every table: captions, their recordings, and the places (N,) of their tables."""
        if self._read is None:
            rows = [(caption, *of, style) for style, table in enumerate(self.tables) for *of, caption in table.read()]
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
        return [{"name": table.name, "file": table.file, "n_captions": count} for table, count in counts]


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
        raise ManifestError(
            f"valid_fraction={valid_fraction} leaves {len(train)} captions to train on and {len(valid)} to validate "
            f"on, of {len(captions)}; change it"
        )
    report_words(captions, tokenizer, max_words, f"the captions, {len(valid)} of them held out")
    rows = [{"ids": np.array(tokenizer.encode(caption, max_words)), "pad_id": tokenizer.pad_id} for caption in captions]
    return {
        name: _TextBatches(rows, styles, evidence, indices, batch_size, seed, name == "train")
        for name, indices in (("train", train), ("valid", valid))
    }


class _TextBatches(EpochDataset):
    """Batches of the captions at `indices`; those of validation are the same in every epoch."""

    def __init__(self, rows, styles, evidence, indices, batch_size, seed, is_training):
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

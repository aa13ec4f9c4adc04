"""Batches for captioners: clips, labelled ones first, with captions and teacher targets."""

import zlib
from typing import NamedTuple

import torch

from tinyclap.data.caption_choices import StudentChoices
from tinyclap.errors import ConfigError


class CaptionRow(NamedTuple):
    """One clip of an example."""

    name: str
    wav: torch.Tensor  # (T,)
    ids: list | None  # the chosen caption; None for an unlabelled clip
    references: list  # all captions of the clip; the teacher's where there are no others
    teacher_ids: list | None = None
    teacher_embedding: torch.Tensor | None = None  # (D,)
    choice_ids: torch.Tensor | None = None  # (L' - 1, k), as in CaptionBatch
    choice_probs: torch.Tensor | None = None


class RowMaker:
    """Makes a :class:`CaptionRow` of a view or of a whole clip.

    Arguments
    ---------
    tokenizer : tinyclap.text.tokenizer.WordTokenizer
    taught : tinyclap.data.caption_shards.TaughtCaptions or None
    sample_rate_hz : int. The student's.
    max_words : int. Longer captions are cut.
    valid_max_s : float. Longer whole clips are cut, in seconds.
    """

    def __init__(self, tokenizer, taught, sample_rate_hz, max_words, valid_max_s):
        self.tokenizer, self.taught, self.sample_rate_hz = tokenizer, taught, sample_rate_hz
        self.max_words, self.valid_max_s = max_words, valid_max_s
        with_choices = taught is not None and taught.choices is not None
        self.choices = StudentChoices(taught.choices, tokenizer) if with_choices else None

    def row(self, views, name, view, captions=None, chosen=0):
        """The :class:`CaptionRow` of one view, with the `chosen` of its captions.

        Arguments
        ---------
        views : tinyclap.data.views.Views
        name, view : str
        captions : list of str, optional
        chosen : int
        """
        wav = torch.from_numpy(views.read(name, view, self.sample_rate_hz))
        ids = self.tokenizer.encode(captions[chosen], self.max_words) if captions else None
        if self.taught is None:
            return CaptionRow(name, wav, ids, captions or [])
        embedding, said = self.taught.get(name, view)
        said_ids, choices = self.tokenizer.encode(said, self.max_words), ()
        if self.choices is not None:
            choices = self.choices.targets(self.taught.row(name, view), len(said_ids) - 1)
        return CaptionRow(name, wav, ids, captions or [said], said_ids, embedding, *choices)

    def whole(self, name, item, reader):
        """A whole clip with one of its captions, always the same, and no teacher targets."""
        wav = torch.from_numpy(reader(item["wav"], 0.0, self.valid_max_s))
        caption = item["captions"][zlib.crc32(name.encode()) % len(item["captions"])]
        return CaptionRow(name, wav, self.tokenizer.encode(caption, self.max_words), item["captions"])


class CaptionExample(NamedTuple):
    """One example of a dataset: a list of CaptionRow, and the id that pads captions."""

    rows: list
    pad_id: int


class CaptionBatch(NamedTuple):
    """A batch: its first B = ``n_labelled`` rows have captions; all B + U have teacher targets, or none has."""

    wavs: torch.Tensor  # (B + U, T), zeros after a clip's end
    n_samples: torch.Tensor  # (B + U,), int64
    ids: torch.Tensor  # (B, L), int64: <start> … <end>, then pads
    teacher_ids: torch.Tensor | None  # (B + U, L'), int64
    teacher_embedding: torch.Tensor | None  # (B + U, D)
    n_labelled: int
    references: list  # B + U lists of str
    names: list
    choice_ids: torch.Tensor | None = None  # (B + U, L' - 1, k), int64: the teacher's k best words a place
    choice_probs: torch.Tensor | None = None  # float32; they sum to 1, or are all 0 where there is no target

    def to(self, device):
        """The batch with its tensors on a device."""
        moved = [part.to(device, non_blocking=True) if isinstance(part, torch.Tensor) else part for part in self]
        return CaptionBatch(*moved)


def collate_captions(examples):
    """Pad and stack examples, labelled rows first: list of CaptionExample → CaptionBatch."""
    pad_id = examples[0].pad_id
    rows = [row for example in examples for row in example.rows]
    labelled = [row for row in rows if row.ids is not None]
    rows = labelled + [row for row in rows if row.ids is None]
    taught = [row.teacher_ids is not None for row in rows]
    if any(taught) != all(taught):
        raise ConfigError(
            "some clips of a batch have a teacher's caption and others have not; give each view to the store"
        )
    chosen = all(row.choice_ids is not None for row in rows)
    return CaptionBatch(
        wavs=_padded([row.wav for row in rows], 0.0),
        n_samples=torch.tensor([len(row.wav) for row in rows]),
        ids=_padded([torch.tensor(row.ids) for row in labelled], pad_id),
        teacher_ids=_padded([torch.tensor(row.teacher_ids) for row in rows], pad_id) if all(taught) else None,
        teacher_embedding=torch.stack([row.teacher_embedding for row in rows]) if all(taught) else None,
        n_labelled=len(labelled),
        references=[row.references for row in rows],
        names=[row.name for row in rows],
        choice_ids=_padded([row.choice_ids for row in rows], pad_id) if chosen else None,
        choice_probs=_padded([row.choice_probs for row in rows], 0.0) if chosen else None,
    )


def _padded(rows, value):
    if not rows:
        return torch.zeros(0, 0, dtype=torch.int64)
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value)

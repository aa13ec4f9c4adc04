"""What a captioner is given at once: rows of clips, labelled ones first, with what a teacher said of them."""

from typing import NamedTuple

import torch

from tinyclap.errors import ConfigError


class CaptionRow(NamedTuple):
    """One clip of an example.

    Attributes
    ----------
    name : str
    wav : torch.Tensor, shape (T,)
    ids : list of int or None
        The chosen caption of a labelled clip; None makes the clip unlabelled.
    references : list of str
        All captions of the clip; the teacher's where there are no others.
    teacher_ids : list of int or None
    teacher_embedding : torch.Tensor or None, shape (D,)
    """

    name: str
    wav: torch.Tensor
    ids: list | None
    references: list
    teacher_ids: list | None = None
    teacher_embedding: torch.Tensor | None = None


class CaptionExample(NamedTuple):
    """What a dataset gives for one index: ``rows`` (a list of CaptionRow) and the id that pads captions."""

    rows: list
    pad_id: int


class CaptionBatch(NamedTuple):
    """A batch: its first ``n_labelled`` rows have captions, all B + U have what the teacher said, if one did.

    Attributes
    ----------
    wavs : torch.Tensor, shape (B + U, T)
        Zeros after a clip's end.
    n_samples : torch.Tensor, shape (B + U,), int64
    ids : torch.Tensor, shape (B, L), int64
        ``<start>`` … ``<end>``, then pads.
    teacher_ids : torch.Tensor or None, shape (B + U, L'), int64
    teacher_embedding : torch.Tensor or None, shape (B + U, D)
    n_labelled : int
        B.
    references : list of list of str, length B + U
    names : list of str, length B + U
    """

    wavs: torch.Tensor
    n_samples: torch.Tensor
    ids: torch.Tensor
    teacher_ids: torch.Tensor | None
    teacher_embedding: torch.Tensor | None
    n_labelled: int
    references: list
    names: list

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
    return CaptionBatch(
        wavs=_padded([row.wav for row in rows], 0.0),
        n_samples=torch.tensor([len(row.wav) for row in rows]),
        ids=_padded([torch.tensor(row.ids) for row in labelled], pad_id),
        teacher_ids=_padded([torch.tensor(row.teacher_ids) for row in rows], pad_id) if all(taught) else None,
        teacher_embedding=torch.stack([row.teacher_embedding for row in rows]) if all(taught) else None,
        n_labelled=len(labelled),
        references=[row.references for row in rows],
        names=[row.name for row in rows],
    )


def _padded(rows, value):
    if not rows:
        return torch.zeros(0, 0, dtype=torch.int64)
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value)

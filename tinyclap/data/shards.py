"""Shards of a target cache: Arrow IPC files, which pandas, DuckDB, `datasets` and Ray read.

``<part>_<first row>.arrow`` is one record batch, a row a view: ``clip_id``, ``view``, ``note`` (JSON of what a mixture
is made of), and a column a target: arrays as float16 in fixed-size lists, with their shape in the field's metadata;
captions as strings; token choices as a struct of lists. ``<…>.sha256``, which comes last, has its checksum for
``sha256sum -c``, and its size and modification time as a comment. A shard's bytes do not depend on who makes it.
"""

import contextlib
import json
import os
import time
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch

from tinyclap.data.items import ItemTable
from tinyclap.decoding.beam_search import WordChoices
from tinyclap.errors import CheckpointError, ConfigError, ManifestError
from tinyclap.files import atomic_path, sha256_of, write_text

_STALE_S = 600  # a shard is written in far less, so an older temporary file belongs to a run that was killed
_MAX_OPEN = 256  # files mapped at once; a process may have some thousand open
_CHOICES = ("words", "ids", "log_probs")


class Shard(NamedTuple):
    """Some views of a part: `n_views` from the `first` on."""

    part: str
    first: int
    n_views: int

    def path(self, folder):
        """Its file."""
        return folder / f"{self.part}_{self.first:07d}.arrow"


def list_shards(parts, size):
    """Shards of at most `size` views of parts, name → list of views."""
    firsts = [(part, first, len(views)) for part, views in parts.items() for first in range(0, len(views), size)]
    return [Shard(part, first, min(size, n_views - first)) for part, first, n_views in firsts]


def to_batch(keys, notes, columns):
    """n rows of a shard (pyarrow.RecordBatch): (clip, view), JSON-able notes, and columns as a teacher gives them.

    A column is a tensor (n, …), n str, or WordChoices.
    """
    clips, views = zip(*keys, strict=True)
    texts = [json.dumps(note, ensure_ascii=False) if note else "" for note in notes]
    fields, arrays = [], []
    for name, column in {"clip_id": clips, "view": views, "note": texts, **columns}.items():
        n_rows = len(column.n_words) if isinstance(column, WordChoices) else len(column)
        if n_rows != len(keys):
            raise CheckpointError(f"the teacher gave {n_rows} rows of {name} for {len(keys)} views; it owes one each")
        shape = {"shape": json.dumps(column.shape[1:])} if isinstance(column, torch.Tensor) else None
        arrays.append(_to_arrow(column, name, keys))
        fields.append(pa.field(name, arrays[-1].type, nullable=False, metadata=shape))
    return pa.record_batch(arrays, schema=pa.schema(fields))


def _to_arrow(column, name, keys):
    if isinstance(column, torch.Tensor):
        return _lists_of(_float16(column, name, keys))
    if not isinstance(column, WordChoices):
        return pa.array(column, pa.string())
    words, ids, log_probs, n_words = (part.cpu() for part in column)
    there = torch.arange(words.shape[1]) < n_words[:, None]
    log_probs = _float16(log_probs.masked_fill(~there[..., None], 0), name, keys)
    parts = pa.array(words[there].int().numpy()), _lists_of(ids[there].int()), _lists_of(log_probs[there])
    ends = pa.array(np.cumsum([0, *n_words]), pa.int32())
    return pa.StructArray.from_arrays([pa.ListArray.from_arrays(ends, part) for part in parts], names=_CHOICES)


def _float16(values, name, keys):
    values = values.detach().to("cpu", torch.float16)
    broken = (~values.flatten(1).isfinite().all(dim=1)).nonzero()
    if len(broken):
        clip, view = keys[broken[0]]
        raise CheckpointError(
            f"the teacher's {name} for view {view} of {clip} is not finite in float16; are its weights whole?"
        )
    return values


def _lists_of(rows):
    """A tensor (n, …) as n lists of one size."""
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1).numpy()), rows.shape[1:].numel())


def write_shard(path, batches):
    """Write a shard of :func:`to_batch`'s rows atomically, and its checksum."""
    for fields in zip(*(batch.schema for batch in batches), strict=True):
        if len({f"{field.type} {field.metadata}" for field in fields}) > 1:
            raise ConfigError(
                f"the teacher's {fields[0].name} has several shapes for views of different lengths; leave it out, or "
                "give views of one length"
            )
    batch = pa.concat_batches(batches)
    with atomic_path(path) as part, pa.OSFile(str(part), "wb") as file, pa.ipc.new_file(file, batch.schema) as writer:
        writer.write_batch(batch)
    _write_checksum(path, sha256_of(path))


def _write_checksum(path, digest):
    write_text(path.with_suffix(".sha256"), _checksum(path, digest))


def _checksum(path, digest):
    stat = path.stat()
    return f"{digest}  {path.name}\n# {stat.st_size} bytes, modified {stat.st_mtime_ns}\n"


def is_whole(path):
    """Whether a shard and its checksum were written."""
    return path.with_suffix(".sha256").exists() and path.exists()


def check_shard(path, verify=False):
    """Raise a CheckpointError for a damaged shard; it is hashed where size or time are others, or with `verify`."""
    noted = path.with_suffix(".sha256").read_text(encoding="utf-8", errors="replace")
    digest, _, _ = noted.partition(" ")
    is_known = noted == _checksum(path, digest)
    if is_known and not verify:
        return
    if digest != sha256_of(path):
        raise _damaged(path, "it has another sha256")
    if not is_known:
        with contextlib.suppress(OSError):  # a folder that can only be read is hashed each time
            _write_checksum(path, digest)


def _damaged(path, why):
    return CheckpointError(
        f"{path}: this shard of the target cache is damaged ({why}); delete {path.stem}.* and make it again: the same "
        "command makes what is missing"
    )


@contextlib.contextmanager
def writing(path):
    """Where `path`, of a target cache, cannot be written, raise a CheckpointError that says what to do."""
    try:
        yield
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else error
        raise CheckpointError(
            f"{path} cannot be written ({why}); shards that are whole are kept: make room, or "
            "correct the folder's permissions, and give the same command again, or another --target_cache"
        ) from error


def remove_stale(folder):
    """Delete old temporary files of killed runs; another run may be writing newer ones."""
    for part in folder.glob(".*.part"):
        with contextlib.suppress(FileNotFoundError):  # its writer has just finished it
            if time.time() - part.stat().st_mtime > _STALE_S:
                part.unlink()


class ShardReader:
    """The views of a cache in a `folder` as they are read, by memory map; pickled without their numbers.

    `keys` maps a part to its list of (clip, view), in which those of one clip come together, in their order; the parts
    are in shards of `shard_size`, and `columns` are those to read.
    """

    def __init__(self, folder, keys, shard_size, columns):
        self.folder, self.shard_size, self.columns = folder, shard_size, columns
        self._shards, self._open, rows = list_shards(keys, shard_size), {}, {}
        for number, shard in enumerate(self._shards):
            views = keys[shard.part][shard.first : shard.first + shard.n_views]
            for row, (clip, view) in enumerate(views, number * shard_size):
                rows.setdefault(f"{clip} {view[0]}", []).append(row)
        self._rows = ItemTable({name: (views[0], len(views)) for name, views in rows.items()})

    def __getstate__(self):
        # memory maps pickle as their content
        return {**self.__dict__, "_open": {}}

    def __len__(self):
        return sum(shard.n_views for shard in self._shards)

    def row(self, clip, view):
        """The place of a view in the order of the cache."""
        index = 0 if view == "v" else int(view[1:]) if view[1:].isdigit() else None
        first, n_views = self._rows.get(f"{clip} {view[:1]}", (0, 0))
        if index is None or index >= n_views:
            raise ManifestError(
                f"the target cache {self.folder} has no view {view!r} of {clip!r}; give it the views of the training"
            )
        return first + index

    def at(self, row, columns=None):
        """Values of a view by column, by default all: numpy.ndarray (a copy), str, or WordChoices of arrays."""
        shard, place = divmod(row, self.shard_size)
        return {column: self._value(shard, place, column) for column in columns or self.columns}

    def values(self, column):
        """Iterate over a column, in the order of the cache."""
        for number, shard in enumerate(self._shards):
            yield from (self._value(number, place, column) for place in range(shard.n_views))

    def _value(self, shard, place, column):
        if (shard, column) not in self._open:
            if len(self._open) >= _MAX_OPEN:
                self._open.clear()
            self._open[shard, column] = _read_column(self._shards[shard].path(self.folder), column)
        value = self._open[shard, column][place]
        if isinstance(value, np.ndarray):
            return value.copy()
        if isinstance(value, pa.StringScalar):
            return value.as_py()
        words, *rows = (value[name].values for name in _CHOICES)
        ids, log_probs = (row.flatten().to_numpy().reshape(-1, row.type.list_size).copy() for row in rows)
        return WordChoices(words.to_numpy().copy(), ids, log_probs, len(words))


def _read_column(path, column):
    """A column of a shard: numpy.ndarray (n, …) in a memory map, or an Arrow array."""
    try:
        batch = pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0)
        values, field = batch.column(column), batch.schema.field(column)
    except (OSError, KeyError, pa.ArrowException) as error:
        raise _damaged(path, str(error)) from error
    shape = (field.metadata or {}).get(b"shape")
    return values if shape is None else values.values.to_numpy().reshape(len(values), *json.loads(shape))

"""What a captioning teacher says of each view, worked out once: its clip embedding and its caption.

The teacher costs seconds a clip, the student milliseconds: asked in the training loop, the teacher would be the
training. The store is made in shards that are there whole or not at all, goes on where it was stopped, and knows who
made it and of what.
"""

import json
import logging
import os
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from tinyclap.data import caption_shards
from tinyclap.data.caption_choices import joined_choices, packed_choices
from tinyclap.data.caption_shards import (
    TaughtCaptions,
    differences,
    fingerprint,
    is_whole,
    read_json,
    remove_stale,
    sha256_of_file,
    shard_path,
    write_json,
    write_shard,
)
from tinyclap.data.workers import make_shards
from tinyclap.errors import CheckpointError, ConfigError, ManifestError

logger = logging.getLogger(__name__)

_NOTE = "store.json"
_WORDS = "words.json"  # the teacher's vocabulary, where there are word choices; its checksum is in the note


class CaptionStore:
    """The store of a run.

    Arguments
    ---------
    folder : str or os.PathLike
        The store's own. ``store.json`` says which teacher made it; ``<part>.json``, one for each manifest, of what;
        each shard is ``.npy`` (embeddings, float16), ``.json`` (clips, views, captions) and ``.sha256``
        (``sha256sum -c`` reads it). With word choices: ``words.json`` too, and ``.npz`` in each shard.
    teacher : teacher or None
        With ``load()``, ``identity()`` and ``teach_captions(wavs, sample_rate_hz)`` → ((B, D), B captions). None, or
        one whose ``weights`` are None, takes the store as it is. One whose ``n_word_choices`` is not 0 has ``words``
        and ``teach_words(wavs, sample_rate_hz)``, which gives :class:`tinyclap.decoding.WordChoices` too.
    views : tinyclap.data.views.Views or list of them
        What the teacher hears; entries that are None are left out. Another manifest is added to a store that is there.
    batch_size : int
        Views that the teacher is given at once.
    n_processes : int
        Worker processes, each with a teacher of its own; 0 and 1 work in this process.
    device : str, optional
        Where the teacher works while the store is made; the CPU by default.
    """

    def __init__(self, folder, teacher, views, batch_size=8, n_processes=0, device=None):
        if n_processes > 1 and device is not None:
            raise ConfigError(f"n_processes={n_processes} are for the CPU; leave them out with device={device!r}")
        self.folder, self.teacher = Path(folder), teacher
        self.views = [part for part in (views if isinstance(views, (list, tuple)) else [views]) if part is not None]
        self.batch_size, self.n_processes, self.device = batch_size, n_processes, device
        self.taught, self.identity = None, None

    def load(self):
        """Make what is missing, check what is there, and open it.

        Returns
        -------
        CaptionStore
            Itself; ``taught`` then is a :class:`TaughtCaptions` and ``identity`` the teacher's.

        Raises
        ------
        CheckpointError
            The store was made by another teacher or another format, is damaged, or is not there while the teacher
            has no weights.
        ManifestError
            It was made of other clips or other views.
        """
        if self.taught is None:
            parts = self._parts()
            may_make = getattr(self.teacher, "weights", self.teacher) is not None
            self.identity = self._same_teacher(may_make)
            for name, (_, part) in parts.items():
                self._same_views(name, part, may_make)
            shards = _shards(parts)
            missing = [shard for shard in shards if not is_whole(shard_path(self.folder, *shard[:2]))]
            if missing and not may_make:
                raise self._absent(f"{len(missing)} of its {len(shards)} shards are missing")
            if missing:
                self._make(missing, parts)
            keys_by_part = {name: part.keys for name, (_, part) in parts.items()}
            self.taught = TaughtCaptions(self.folder, keys_by_part, self._words())
        return self

    def get(self, name, view):
        """What the teacher said of a view: (embedding, float32 tensor of shape (D,); caption, str)."""
        return self.load().taught.get(name, view)

    def _parts(self):
        parts = {}
        for views in self.views:
            for name, part in views.parts().items():
                if name in parts and parts[name][1] != part:
                    raise ConfigError(f"two of the store's views are called {name}, and differ; give each a store")
                parts[name] = (views, part)
        if not parts:
            raise ConfigError(f"the caption store {self.folder} has no clips to be made of; name a corpus")
        return parts

    def _same_teacher(self, may_make):
        """The identity of the teacher that made the store, which is this run's if it has one."""
        note = self.folder / _NOTE
        wanted = {"format": caption_shards.FORMAT, "shard_size": caption_shards.SHARD_SIZE}
        if may_make:
            wanted["teacher"] = json.loads(json.dumps(self.teacher.identity()))
            if not note.exists():
                if _n_choices(self.teacher):
                    write_json(self.folder / _WORDS, {"words": self.teacher.load().words})
                    wanted["words_sha256"] = sha256_of_file(self.folder / _WORDS)
                write_json(note, wanted)
        elif not note.exists():
            raise self._absent(f"{note} does not exist")
        there = read_json(note)
        for key in ("format", "shard_size"):
            if there.get(key) != wanted[key]:
                raise CheckpointError(
                    f"{self.folder} is a store of {key} {there.get(key)}, this version makes {key} {wanted[key]}; "
                    "delete the folder to make it again, or give another"
                )
        if may_make and there["teacher"] != wanted["teacher"]:
            raise CheckpointError(
                f"{self.folder} was made by another teacher: {fingerprint(there['teacher'])} made it, this run has "
                f"{fingerprint(wanted['teacher'])}. Different: {differences(there['teacher'], wanted['teacher'])}. "
                "Give this teacher a folder of its own, or delete that one, or give the teacher that made it"
            )
        if not may_make:
            logger.warning("no teacher's weights: %s is used as it is, made by %s", self.folder, there["teacher"])
        return there["teacher"]

    def _words(self):
        """The vocabulary of the store's word choices, or None where it has none."""
        promised, path = read_json(self.folder / _NOTE).get("words_sha256"), self.folder / _WORDS
        if promised is None:
            return None
        if not path.exists() or sha256_of_file(path) != promised:
            raise CheckpointError(
                f"{path} is missing, or has another sha256, and without it the store's word choices mean nothing; "
                "bring it back, or delete the folder to make it again"
            )
        return read_json(path)["words"]

    def _same_views(self, name, part, may_make):
        note = self.folder / f"{name}.json"
        wanted = json.loads(json.dumps(part.description))
        if not note.exists():
            if not may_make:
                raise self._absent(f"it has nothing of {name}")
            write_json(note, wanted)
        there = read_json(note)
        if there != wanted:
            raise ManifestError(
                f"{self.folder} was made of other clips or other views of {name}: {fingerprint(there)} there, "
                f"{fingerprint(wanted)} here. Different: {differences(there, wanted)}. "
                f"Give this run a store of its own, or delete {name}* in that one to make that part again"
            )

    def _absent(self, what):
        return CheckpointError(
            f"the caption store {self.folder} is not whole ({what}), and no weights of a teacher that could make it "
            "are given. "
            "Make it once: python train.py RECIPE.yaml --teacher_weights WEIGHTS …, or give a folder that has it"
        )

    def _make(self, missing, parts):
        """Make the shards `missing`, in this process or in others."""
        remove_stale(self.folder)
        logger.info("asking the teacher about %d shards of views for %s", len(missing), self.folder)
        # With several GPUs each rank begins elsewhere, and none makes what another has made.
        first = int(os.environ.get("RANK", 0)) * len(missing) // int(os.environ.get("WORLD_SIZE", 1))
        missing = missing[first:] + missing[:first]
        self.teacher.load()
        if self.device is not None:
            self.teacher.to(self.device)
        maker = _ShardMaker(self.folder, self.teacher, parts, self.batch_size, self.device)
        total = sum(n_views for _, _, n_views in missing)
        with tqdm(total=total, unit="view", desc="teacher's captions") as bar:
            if self.n_processes > 1:
                make_shards(maker, missing, self.n_processes, bar)
            else:
                for shard in missing:
                    bar.update(maker.make(*shard))
        for views in self.views:
            views.forget()
        if self.device is not None:
            self.teacher.to("cpu")


def make_store(folder, **options):
    """A :class:`CaptionStore`, or None where `folder` is None: a run without a teacher."""
    return None if folder is None else CaptionStore(folder, **options)


class _ShardMaker:
    """What a worker needs to make any shard; sent to it once."""

    def __init__(self, folder, teacher, parts, batch_size, device):
        self.folder, self.teacher, self.parts = folder, teacher, parts
        self.batch_size, self.device = batch_size, device

    @torch.no_grad()
    def make(self, part, first, n_views):
        """Make and write one shard, if no other process has done so; returns its number of views."""
        shard = shard_path(self.folder, part, first)
        if is_whole(shard):
            return n_views
        views, (keys, _) = self.parts[part]
        keys = keys[first : first + n_views]
        rows, captions, choices = [], [], []
        for start in range(0, len(keys), self.batch_size):
            batch = keys[start : start + self.batch_size]
            wavs = [torch.from_numpy(views.read(*key)).to(self.device or "cpu") for key in batch]
            if _n_choices(self.teacher):
                embeddings, said, more = self.teacher.teach_words(wavs, views.sample_rate_hz)
                choices.append(packed_choices(more, batch))
            else:
                embeddings, said = self.teacher.teach_captions(wavs, views.sample_rate_hz)
            rows.append(_as_stored(embeddings, said, batch))
            captions += said
        if not is_whole(shard):
            joined = joined_choices(choices) if choices else None
            write_shard(shard, np.concatenate(rows), {"keys": keys, "captions": captions}, joined)
        return n_views


def _n_choices(teacher):
    """How many words a teacher gives in each place; few teachers can."""
    return getattr(teacher, "n_word_choices", 0)


def _as_stored(embeddings, captions, keys):
    """Embeddings as float16, where they and the captions are what a teacher should say."""
    stored = embeddings.detach().to("cpu", torch.float16)
    if stored.ndim != 2 or len(stored) != len(keys) or len(captions) != len(keys):
        raise CheckpointError(
            f"the teacher answered {len(keys)} views by embeddings of shape {tuple(stored.shape)} and "
            f"{len(captions)} captions; it owes (B, D) and B"
        )
    broken = [key for key, row in zip(keys, stored, strict=True) if not torch.isfinite(row).all()]
    if broken:
        raise CheckpointError(
            f"the teacher's embedding of {broken[0]} is not finite in float16; are its weights whole?"
        )
    return stored.numpy()


def _shards(parts):
    """(part, place of the first view, number of views) of each shard."""
    size = caption_shards.SHARD_SIZE
    return [
        (name, first, min(size, len(part.keys) - first))
        for name, (_, part) in parts.items()
        for first in range(0, len(part.keys), size)
    ]

"""Target caches: teacher targets of each view of some corpora, computed once, in shards (:mod:`tinyclap.data.shards`).

A cache resumes where it was stopped, and refuses another teacher and other views.
"""

import json
import logging
import os
from pathlib import Path

from tqdm import tqdm

from tinyclap.data.ray_shards import make_on_ray
from tinyclap.data.shards import differences, fingerprint, is_whole, list_shards, read_json, remove_stale, shard_path
from tinyclap.data.workers import make_shards
from tinyclap.errors import CheckpointError, ConfigError, ManifestError
from tinyclap.files import write_json

logger = logging.getLogger(__name__)

_NOTE = "store.json"


class ShardStore:
    """Base of the target caches.

    A subclass has ``kind`` (its name in messages), ``format``, ``shard_size``, ``facts()``, ``maker(parts)`` and
    ``open(parts)``.

    Arguments
    ---------
    folder : str or os.PathLike
        ``store.json`` there describes the teacher, ``<part>.json`` the views of each manifest; then come the shards.
    teacher : teacher or None
        With ``load()`` and ``identity()``. None, or one whose ``weights`` are None, takes the cache as it is.
    views : tinyclap.data.views.Views or list of them
        Entries that are None are left out. Another manifest can be added later.
    batch_size : int. Views in a batch of the teacher.
    n_processes : int. Worker processes, each with its own teacher; 0 and 1 work in this process.
    device : str, optional. Of the teacher while the cache is made; the CPU by default.

    Raises
    ------
    ConfigError: Several processes for one device.
    """

    def __init__(self, folder, teacher, views, batch_size=8, n_processes=0, device=None):
        self.folder, self.teacher = Path(folder), teacher
        self.views = [part for part in (views if isinstance(views, (list, tuple)) else [views]) if part is not None]
        self.batch_size, self.device = batch_size, device
        self.taught, self.identity, self.ray_address = None, None, None
        self.scale(n_processes)

    def scale(self, n_processes=0, ray_address=None):
        """Set who makes the shards: `n_processes` of this machine, or a Ray cluster (`ray_address`, or ``"local"``).

        With Ray, `n_processes` is the number of teachers at once; 0 for one a GPU. See :mod:`tinyclap.data.ray_shards`.
        """
        if n_processes > 1 and ray_address is None and self.device is not None:
            raise ConfigError(f"n_processes={n_processes} are for the CPU; leave them out with device={self.device!r}")
        self.n_processes, self.ray_address = n_processes, ray_address

    def load(self):
        """Make missing shards, check the rest, and open the cache; returns itself, with ``taught`` and ``identity``.

        Raises
        ------
        CheckpointError
            Another teacher or format made the cache, it is damaged, or incomplete while the teacher has no weights.
        ManifestError: It was made of other clips or other views.
        """
        if self.taught is None:
            parts = self._parts()
            may_make = self.may_make()
            self.identity = self._same_teacher(self.own_identity())
            for name, (_, part) in parts.items():
                self._same_views(name, part, may_make)
            shards = list_shards({name: len(part.keys) for name, (_, part) in parts.items()}, self.shard_size)
            missing = [shard for shard in shards if not is_whole(shard_path(self.folder, *shard[:2]))]
            if missing and not may_make:
                raise self._absent(f"{len(missing)} of its {len(shards)} shards are missing")
            if missing:
                self._make(missing, parts)
            self.taught = self.open({name: part.keys for name, (_, part) in parts.items()})
        return self

    def may_make(self):
        """Whether this run has a teacher that could make missing shards."""
        return getattr(self.teacher, "weights", self.teacher) is not None

    def own_identity(self):
        """The identity of this run's teacher, or None if unknown: the cache is then taken as it is."""
        return self.teacher.identity() if self.may_make() else None

    def is_begun(self):
        """Whether the cache was begun."""
        return (self.folder / _NOTE).exists()

    def note(self):
        """The content of ``store.json``."""
        return read_json(self.folder / _NOTE)

    def remarks(self):
        """More entries of ``store.json``, written when a cache is begun and never compared."""
        return {}

    def load_teacher(self):
        """Load the teacher's weights before a shard is made."""
        self.teacher.load()

    def _parts(self):
        parts = {}
        for views in self.views:
            for name, part in views.parts().items():
                if name in parts and parts[name][1] != part:
                    raise ConfigError(f"two of the store's views are called {name}, and differ; give each a store")
                parts[name] = (views, part)
        if not parts:
            raise ConfigError(f"the {self.kind} {self.folder} has no clips to be made of; name a corpus")
        return parts

    def _same_teacher(self, identity):
        """The identity of the teacher that made the cache; this run's must be the same."""
        wanted = {"format": self.format, "shard_size": self.shard_size, **_as_json(self.facts())}
        if not self.is_begun():
            if identity is None:
                raise self._absent(f"{self.folder / _NOTE} does not exist")
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(self.folder / _NOTE, {**wanted, "teacher": _as_json(identity), **self.remarks()})
        there = self.note()
        for key in wanted:
            if there.get(key) != wanted[key]:
                raise CheckpointError(
                    f"{self.folder} is a store of {key} {there.get(key)}, this run makes {key} {wanted[key]}; "
                    "delete the folder to make it again, or give another"
                )
        if identity is None:
            logger.warning("no teacher's weights: %s is used as it is, made by %s", self.folder, there["teacher"])
        else:
            self.require_teacher(there["teacher"], _as_json(identity))
        return there["teacher"]

    def require_teacher(self, there, here):
        """Raise a CheckpointError with fingerprints and differences if these are not the same teacher."""
        if there != here:
            raise CheckpointError(
                f"{self.folder} was made by another teacher: {fingerprint(there)} made it, this run has "
                f"{fingerprint(here)}. Different: {differences(there, here)}. "
                "Give this teacher a folder of its own, or delete that one, or give the teacher that made it"
            )

    def _same_views(self, name, part, may_make):
        note = self.folder / f"{name}.json"
        wanted = _as_json(part.description)
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
            f"the {self.kind} {self.folder} is not whole ({what}), and no weights of a teacher that could make it "
            "are given. "
            "Make it once: python precompute.py RECIPE.yaml --teacher_weights WEIGHTS …, or give a folder that has it"
        )

    def _make(self, missing, parts):
        remove_stale(self.folder)
        logger.info("asking the teacher about %d shards of views for %s", len(missing), self.folder)
        # each rank begins elsewhere, and skips shards that exist
        first = int(os.environ.get("RANK", 0)) * len(missing) // int(os.environ.get("WORLD_SIZE", 1))
        missing = missing[first:] + missing[:first]
        self.load_teacher()
        maker = self.maker(parts)
        if self.device is not None and self.ray_address is None:
            maker.to(self.device)
        with tqdm(total=sum(n_views for _, _, n_views in missing), unit="view", desc=self.kind) as bar:
            if self.ray_address is not None:
                make_on_ray(maker, missing, self.ray_address, self.n_processes, bar)
            elif self.n_processes > 1:
                make_shards(maker, missing, self.n_processes, bar)
            else:
                for n_made in maker.make_all(missing):
                    bar.update(n_made)
        for views in self.views:
            views.forget()
        if self.device is not None:
            self.teacher.to("cpu")


def _as_json(content):
    """As read back from JSON: tuples are lists."""
    return json.loads(json.dumps(content))

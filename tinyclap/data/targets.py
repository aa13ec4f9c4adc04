"""TeacherTargets: what a teacher gives for each view of a run's clips, computed live or read from a target cache."""

import contextlib
import json
import logging
import os
from pathlib import Path

import torch
from filelock import FileLock
from speechbrain.utils.distributed import ddp_barrier, if_main_process
from torch import nn
from tqdm import tqdm

import tinyclap
from tinyclap.data.making import LOG_MEL, N_READERS, ShardMaker, make_missing
from tinyclap.data.shards import ShardReader, check_shard, is_whole, list_shards, writing
from tinyclap.errors import CheckpointError, ConfigError, DownloadError, ManifestError
from tinyclap.files import read_json, write_json

logger = logging.getLogger(__name__)

FORMAT = 1  # of the shards, and of what is computed: raised when either changes
NOTE, LOCK = "targets.json", ".targets.lock"
_OLD_NOTES = ("store.json", "pool.json", "*/pool.json")
_NO_WEIGHTS = CheckpointError, DownloadError, OSError


class TeacherTargets(nn.Module):
    """A teacher's targets as named columns, live or from a target cache.

    A cache is a folder of shards (:mod:`tinyclap.data.shards`) and ``targets.json``, which says what they depend on. It
    resumes where it was stopped, several runs and ranks share its making, and other teachers and views are refused.

    Arguments
    ---------
    teacher : tinyclap.teachers.FrozenTeacher or None. None, or one without weights, takes a cache as it is.
    views : tinyclap.data.views.Views or list of them. Entries that are None are left out.
    columns : sequence of str. Of the teacher's: clip, frames, middle, tags, caption, token_choices.
    folder : str or os.PathLike, optional. The target cache; None: the teacher runs in every step.
    features : tinyclap.features.log_mel.LogMel, optional. The student's; its output is the column ``log_mel``.
    precision : {"fp32", "bf16"}. Of the teacher; see ``FrozenTeacher.use_precision``.
    batch_size : int. Views in a batch of the teacher.
    n_processes : int. CPU processes that make the cache, each with its own teacher; 0 and 1: this process.
    n_readers : int, optional. Processes that load audio for the teacher; None: some for a GPU, else none.
    device : str, optional. Of the teacher while the cache is made; None: the GPU of this rank where there is one.
    shard_size : int. Views of a shard.
    """

    def __init__(
        self,
        teacher,
        views,
        columns=("clip",),
        folder=None,
        features=None,
        precision="fp32",
        batch_size=32,
        n_processes=0,
        n_readers=None,
        device=None,
        shard_size=256,
    ):
        super().__init__()
        if any(value != int(value) or value < 1 for value in (batch_size, shard_size)):
            raise ConfigError(f"targets: batch_size={batch_size}, shard_size={shard_size}; give whole numbers above 0")
        self.columns = (columns,) if isinstance(columns, str) else tuple(columns)  # of the teacher's targets
        self.is_cached, self.folder = folder is not None, None if folder is None else Path(folder)
        self.teacher = teacher
        self._require_columns()
        if folder is None and getattr(teacher, "weights", teacher) is None:
            self.teacher, self.columns = None, ()  # a recipe's teacher that was given no weights: there are no targets
        self.views = [part for part in (views if isinstance(views, (list, tuple)) else [views]) if part is not None]
        self.precision, self.batch_size, self.shard_size = precision, batch_size, shard_size
        self.has_log_mel = features is not None and self.is_cached
        self._features = [features]  # no module of this one
        # what decides the targets beside teacher and views
        self._decided_by = {"format": FORMAT, "precision": precision}
        if self.has_log_mel:
            self._decided_by[LOG_MEL] = _as_json(features.config)
        self._cached_columns = [*self.columns, *([LOG_MEL] if self.has_log_mel else [])]
        self.n_readers, self.device = n_readers, device
        self.kind = self.embed_dim = self.score_kind = self.identity = self.words = self._text_side = None
        self._reader = None
        self.scale(n_processes)

    def scale(self, n_processes=0, ray_address=None):
        """Set who makes the shards: `n_processes` here, or as many (0: one a GPU) on Ray (`ray_address` or "local")."""
        if n_processes > 1 and ray_address is None and self.device not in (None, "cpu"):
            raise ConfigError(f"n_processes={n_processes} are for the CPU; leave them out with device={self.device!r}")
        self.n_processes, self.ray_address = n_processes, ray_address

    def load(self, verify=False):
        """Load a live teacher; or make missing shards, open the cache and drop the teacher; returns itself.

        Shards of known size and time are hashed with `verify` alone. A cache of another teacher or front end, one that
        is damaged, or incomplete without a teacher, is a CheckpointError; one of other clips or views a ManifestError.
        """
        if self._reader is not None or not self.columns:
            return self
        if not self.is_cached:
            self._describe(self._load_teacher())
            return self
        parts = {}  # name → (Views, ViewsPart)
        for views in self.views:
            for name, part in views.parts().items():
                if parts.setdefault(name, (views, part))[1] != part:
                    raise ConfigError(f"two views of this run are called {name}, and differ; give each a target cache")
        if not any(part.keys for _, part in parts.values()):
            raise ConfigError(f"there are no clips to fill the target cache {self.folder} with; name a corpus")
        note, keys = self._agree(parts), {name: part.keys for name, (_, part) in parts.items()}
        shards = list_shards(keys, note["shard_size"])
        missing = [shard for shard in shards if not is_whole(shard.path(self.folder))]
        if missing:
            self._make(missing, len(shards), parts, note)
        if if_main_process():
            for shard in shards:
                check_shard(shard.path(self.folder), verify)
        ddp_barrier()
        self._describe(note["about"], note["teacher"])
        self._reader = ShardReader(self.folder, keys, note["shard_size"], self._cached_columns)
        self.teacher, self._features = None, [None]
        return self

    def text_side(self):
        """The text side in a student's config; of a cache, as it was when the cache was begun."""
        return self._text_side

    def get(self, clip, view, column):
        """One cached target of a view: numpy.ndarray float16, str, or WordChoices of arrays with ids of ``words``."""
        return self._reader.at(self._reader.row(clip, view), [column])[column]

    def example(self, clip, view):
        """The cached columns of a view: dict, with ``log_mel`` where it is cached."""
        return self._reader.at(self._reader.row(clip, view))

    def values(self, column):
        """Iterate over a cached column, in the order of the cache."""
        return self._reader.values(column)

    def __len__(self):
        return len(self._reader)

    def forward(self, batch):
        """Targets of a batch: column → tensor or list; its own where cached, else the teacher's of its ``wavs``."""
        if self.is_cached:
            return {column: batch[column] for column in self.columns}
        if not self.columns:
            return {}
        wavs, views = batch["wavs"], self.views[0]
        if views.kind == "windows":
            wavs = [wav[:n_samples] for wav, n_samples in zip(wavs, batch["n_samples"].tolist(), strict=True)]
        return self.teacher.targets(wavs, views.sample_rate_hz, self.columns)

    def embed_text(self, texts):
        """The live teacher's text embeddings (N, D)."""
        if not self.is_cached:
            return self.teacher.embed_text(texts)
        raise ConfigError(
            f"the target cache {self.folder} keeps no text embeddings; give the terms of captions a weight of 0, or "
            "train with the teacher itself: --target_cache null"
        )

    def _describe(self, about, identity=None):
        """Take what a student needs to know of the teacher."""
        self.kind, self.embed_dim, self.score_kind = about["kind"], about["embed_dim"], about["score_kind"]
        self._text_side, self.words, self.identity = about["text_side"], about["words"], identity

    def _require_columns(self):
        if self.teacher is not None and (unknown := set(self.columns) - set(self.teacher.columns)):
            gives = ", ".join(self.teacher.columns)
            raise ConfigError(f"columns {', '.join(sorted(unknown))}: the {self.teacher.kind} teacher gives {gives}")

    def _load_teacher(self):
        """Load the teacher's weights and set its precision; what :meth:`_describe` takes, JSON-able."""
        teacher = self.teacher.load()
        self._require_columns()  # now that its encoder is known
        if self.precision != "fp32":
            teacher.use_precision(self.precision)
        about = {name: getattr(teacher, name, None) for name in ("kind", "embed_dim", "score_kind")}
        words = teacher.words if "token_choices" in self.columns else None
        return {**about, "text_side": teacher.text_side(), "words": words}

    def _agree(self, parts):
        """The cache's note, which it gets first if it is new; raises where this run's targets would be others."""
        path = self.folder / NOTE
        identity, why = self._own_identity(path.exists())
        if not path.exists():
            if identity is None:
                raise self._absent(f"{path} does not exist", why)
            self._begin(path, identity)
        note = self._read_note()
        self._require_same(note, identity)
        if identity is None:
            logger.warning("%s: %s is used as it is, made by %s", why, self.folder, note["teacher"])
        for name, (_, part) in parts.items():
            there, here = note["views"].get(name), _as_json(part.description)
            if there not in (None, here) and list(self.folder.glob(f"{name}_*")):
                raise ManifestError(
                    f"{self.folder} was made of other clips or other views of {name}: {_differences(there, here)}; "
                    f"give another --target_cache, or delete {name}_* in that one to make this part again"
                )
        return note

    def _read_note(self):
        return read_json(self.folder / NOTE, f"delete {self.folder} to make it again")

    def _own_identity(self, is_begun):
        """(the teacher's identity, None), or (None, why it is not known): the cache is then taken as it is."""
        if self.teacher is None:
            return None, "no teacher is given"
        if is_begun and str(getattr(self.teacher, "weights", "")) == "download":
            return None, "the teacher's weights are not fetched"  # a complete cache needs no download
        try:
            with contextlib.suppress(*_NO_WEIGHTS):  # not loaded, or not there: loading it tells
                return _as_json(self.teacher.identity()), None
            return _as_json(self.teacher.load().identity()), None
        except _NO_WEIGHTS as error:
            return None, str(error)

    def _begin(self, path, identity):
        for old in (name for pattern in _OLD_NOTES for name in self.folder.glob(pattern)):
            raise CheckpointError(
                f"{old} is of a cache of an earlier tinyclap, which cannot be read; delete {self.folder}, or give "
                "another --target_cache"
            )
        note = {**self._decided_by, "tinyclap": tinyclap.__version__, "shard_size": self.shard_size}
        note |= {"columns": self._cached_columns, "teacher": identity, "about": self._load_teacher(), "views": {}}
        with writing(path):
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / LOCK):
                if not path.exists():  # another run began it
                    write_json(path, note)

    def _require_same(self, note, identity):
        """Raise a CheckpointError where the cache lacks a column, or its columns depend on something else."""
        here = self._decided_by | ({} if identity is None else {"teacher": identity})
        if not set(self._cached_columns) <= set(note.get("columns", ())):
            here = {"format": FORMAT, "columns": self._cached_columns}
        if differences := _differences({name: note.get(name) for name in here}, here):
            raise CheckpointError(
                f"{self.folder} is another target cache: {differences}; give another --target_cache, or delete that "
                "one to make it again"
            )

    def _absent(self, what, why):
        return CheckpointError(
            f"the target cache {self.folder} is not whole ({what}), and no teacher can make it ({why}). Make it once: "
            "python precompute.py RECIPE.yaml --target_cache FOLDER --teacher_weights WEIGHTS …, or give a whole one"
        )

    def _make(self, missing, n_shards, parts, note):
        """Make missing shards; this rank begins with its own, and helps with others' then."""
        try:
            if self.teacher is None:
                raise CheckpointError("no teacher is given")
            was_loaded = self.teacher.is_loaded
            self.teacher.load()
        except _NO_WEIGHTS as error:
            raise self._absent(f"{len(missing)} of its {n_shards} shards are missing", error) from error
        if not was_loaded:  # else its identity was compared
            self._require_same(note, _as_json(self.teacher.identity()))
        self._load_teacher()
        if LOG_MEL in note["columns"] and not self.has_log_mel:
            raise ConfigError(
                f"{len(missing)} of {n_shards} shards of {self.folder} are missing, and the others have {LOG_MEL}; "
                "give --cache_log_mel True to make them"
            )
        views = {name: _as_json(part.description) for name, (_, part) in parts.items()}
        if not views.items() <= note["views"].items():
            with writing(self.folder / NOTE), FileLock(self.folder / LOCK):
                note = self._read_note()
                note["views"] |= views
                write_json(self.folder / NOTE, note)
        is_here = self.n_processes <= 1 and self.ray_address is None
        device = (self.device or ("cuda" if torch.cuda.is_available() else "cpu")) if is_here else "cpu"
        if device == "cuda":
            device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
        n_readers = self.n_readers
        if n_readers is None:
            n_readers = 0 if device == "cpu" else min(N_READERS, len(os.sched_getaffinity(0)) - 1)
        settings = note["columns"], parts, self.batch_size, n_readers
        maker = ShardMaker(self.folder, self.teacher, self._features[0], *settings).to(device)
        rank, world_size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        order = [shard for each in range(world_size) for shard in missing[(rank + each) % world_size :: world_size]]
        logger.info("making %d of %d shards of teacher targets in %s", len(missing), n_shards, self.folder)
        with tqdm(total=sum(shard.n_views for shard in missing), unit="view", desc="target cache") as bar:
            make_missing(maker, order, self.n_processes, self.ray_address, bar)


def _as_json(content):
    """As read back from JSON: tuples are lists."""
    return json.loads(json.dumps(content))


def _differences(there, here, name=""):
    """What differs between two values, dicts in dicts too, in words; empty for equal ones."""
    if isinstance(there, dict) and isinstance(here, dict):
        parts = [
            _differences(there.get(key, "nothing"), here.get(key, "nothing"), f"{name} {key}".strip())
            for key in sorted({*there, *here})
        ]
        return ", ".join(filter(None, parts))
    return "" if there == here else f"{name} ({there} there, {here} here)"

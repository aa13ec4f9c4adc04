"""Cache of an audio teacher's embeddings of each crop, with the student's log-mels where wanted.

Training from it runs no teacher and, with stored log-mels, neither the front end nor the audio reader.
"""

import copy
import logging

import numpy as np
import torch
from torch import nn

import tinyclap
from tinyclap.data.shard_store import ShardStore
from tinyclap.data.shards import checked_files, damaged, read_json, shard_file, shard_path
from tinyclap.data.workers import ShardMaker, as_stored
from tinyclap.errors import CheckpointError, ConfigError, DownloadError

logger = logging.getLogger(__name__)

FORMAT = 1  # of the files, and of what is computed: raised when either changes
SHARD_SIZE = 256  # views
_MAX_OPEN = 256  # files mapped at once; a process may have some thousand open
_TAGS, _LOG_MEL = "tags.npy", "log_mel.npy"


class EmbeddingStore(ShardStore):
    """The embeddings of a distillation's crops.

    A shard has ``npy`` (embeddings (n, D), float16), ``json`` (clips and views; of mixtures also the other clips and
    levels) and, where wanted, ``log_mel.npy`` (n, F, M) and ``tags.npy`` (n, K), both float16.

    Arguments
    ---------
    folder, teacher : See :class:`tinyclap.data.shard_store.ShardStore`.
    views : tinyclap.data.crop_views.CropViews
    features : tinyclap.features.log_mel.LogMel, optional. The student's front end, whose output is then stored too.
    with_tags : bool. Store tag probabilities too, of teachers with ``probabilities(wavs, sample_rate_hz)``.
    precision : {"fp32", "bf16"}. Of the teacher; see ``FrozenTeacher.use_precision``.
    options : ``batch_size``, ``n_processes`` and ``device``.
    """

    kind = "embedding store"

    def __init__(self, folder, teacher, views, features=None, with_tags=False, precision="fp32", **options):
        super().__init__(folder, teacher, views, **options)
        if with_tags and "tags" not in teacher.columns:
            raise ConfigError(f"the {teacher.kind} teacher has no tag probabilities to store; leave with_tags out")
        self.features, self.with_tags, self.precision = features, with_tags, precision

    @property
    def format(self):
        """Version of the files and of what is computed."""
        return FORMAT

    @property
    def shard_size(self):
        """Views of a shard."""
        return SHARD_SIZE

    @property
    def endings(self):
        """Of a shard's files."""
        return ("npy", "json", *([_LOG_MEL] if self.features else []), *([_TAGS] if self.with_tags else []))

    def facts(self):
        """What decides the rows beside teacher and views."""
        return {
            "precision": self.precision,
            "log_mel": self.features.config if self.features else None,
            "with_tags": self.with_tags,
        }

    def remarks(self):
        """What a student needs to know of this teacher, and the version that begins the cache."""
        teacher = self.teacher.load()
        return {
            "kind": teacher.kind,
            "embed_dim": teacher.embed_dim,
            "score_kind": teacher.score_kind,
            "text_side": teacher.text_side(),
            "tinyclap": tinyclap.__version__,
        }

    def may_make(self):
        """True: a teacher without weights raises when it is loaded."""
        return True

    def own_identity(self):
        """The identity of this run's teacher; None for a cache that is begun, where the weights are not here."""
        # a complete cache needs no download
        if self.is_begun() and str(getattr(self.teacher, "weights", "")) == "download":
            return None
        try:
            return self.teacher.identity()
        except (CheckpointError, OSError):
            pass  # not loaded, or not there: loading it tells
        try:
            return self.teacher.load().identity()
        except (CheckpointError, DownloadError, OSError) as error:
            if not self.is_begun():
                raise
            logger.warning("%s", error)
            return None

    def load_teacher(self):
        """Load the weights, check that they began the cache, and set the precision."""
        self.teacher.load()
        self.require_teacher(self.note()["teacher"], self.teacher.identity())
        if self.precision != "fp32":
            self.teacher.use_precision(self.precision)

    def maker(self, parts):
        """The maker of shards."""
        return _EmbeddingMaker(
            self.folder, self.teacher, parts, self.batch_size, self.device, self.features, self.with_tags
        )

    def open(self, keys_by_part):
        """The targets in the shards."""
        return TaughtEmbeddings(self.folder, keys_by_part, self.endings)


class _EmbeddingMaker(ShardMaker):
    """Shards of embeddings, log-mels and tag probabilities."""

    def __init__(self, folder, teacher, parts, batch_size, device, features, with_tags):
        super().__init__(folder, teacher, parts, batch_size, device)
        self.features, self.with_tags = features, with_tags

    def to(self, device):
        """Move the teacher, and a copy of the front end: the student's stays where it is."""
        if self.features is not None:
            self.features = copy.deepcopy(self.features).to(device)
        return super().to(device)

    def contents(self, part, keys, batches):
        """See :class:`EmbeddingStore`."""
        rows, mixtures, rate = {"npy": []}, [], self.parts[part][0].sample_rate_hz
        for batch, heard in batches:
            wavs = torch.from_numpy(np.stack([wav for wav, _ in heard])).to(self.device or "cpu")
            rows["npy"].append(as_stored(self.teacher.embed_audio(wavs, rate), batch))
            if self.features is not None:
                rows.setdefault(_LOG_MEL, []).append(as_stored(self.features(wavs), batch))
            if self.with_tags:
                rows.setdefault(_TAGS, []).append(as_stored(self.teacher.targets(wavs, rate, ["tags"])["tags"], batch))
            mixtures += [note for _, note in heard]
        index = {"keys": keys, **({"mixtures": mixtures} if any(mixtures) else {})}
        return {"json": index, **{ending: np.concatenate(arrays) for ending, arrays in rows.items()}}


class TaughtEmbeddings:
    """The cache in `folder` as it is read, by memory map: no teacher, no audio.

    `keys_by_part` maps a part to its (clip, view), those of one clip together; `endings` are of a shard's files. A
    damaged shard raises a CheckpointError that names it.
    """

    def __init__(self, folder, keys_by_part, endings):
        self.shards, self.n_views, firsts = [], 0, []
        self._places = {}
        for part, keys in keys_by_part.items():
            for first in range(0, len(keys), SHARD_SIZE):
                shard = shard_path(folder, part, first)
                index = read_json(checked_files(shard, endings)["json"])
                wanted = keys[first : first + SHARD_SIZE]
                if [tuple(key) for key in index["keys"]] != wanted:
                    raise damaged(shard, "it is of other clips")
                self.shards.append(shard)
                firsts.append(self.n_views)
                for offset, (name, _) in enumerate(wanted):
                    begin, count = self._places.get(name, (self.n_views + offset, 0))
                    self._places[name] = begin, count + 1
                self.n_views += len(wanted)
        self._firsts, self._mapped = np.array(firsts), {}
        self.embed_dim = self._map(0, "npy").shape[1]

    def __getstate__(self):
        # memory maps pickle as their content
        return {**self.__dict__, "_mapped": {}}

    def __len__(self):
        return self.n_views

    def place(self, name):
        """(row of a clip's first view, number of its views)."""
        return self._places[name]

    def get(self, row, kind="npy"):
        """A copy of one row of a kind of file: numpy.ndarray, float16."""
        shard = int(np.searchsorted(self._firsts, row, side="right")) - 1
        return np.array(self._map(shard, kind)[row - self._firsts[shard]])

    def _map(self, shard, kind):
        if (shard, kind) not in self._mapped:
            if len(self._mapped) >= _MAX_OPEN:
                self._mapped.clear()
            self._mapped[shard, kind] = np.load(shard_file(self.shards[shard], kind), mmap_mode="r")
        return self._mapped[shard, kind]


class StoredTeacher(nn.Module):
    """A teacher whose targets come from its cache, a `store`."""

    def __init__(self, store):
        super().__init__()
        self.store = store
        self.kind = self.score_kind = self.embed_dim = None

    def scale(self, n_processes=0, ray_address=None):
        """See :meth:`tinyclap.data.shard_store.ShardStore.scale`."""
        self.store.scale(n_processes, ray_address)

    @property
    def folder(self):
        """The store's."""
        return self.store.folder

    def load(self):
        """Complete the cache and open it; the teacher's weights are then dropped."""
        note = self.store.load().note()
        self.kind, self.embed_dim, self.score_kind = note["kind"], note["embed_dim"], note["score_kind"]
        self._text_side = note["text_side"]
        self.store.teacher = None
        return self

    def text_side(self):
        """The text side in a student's config, as it was when the cache was begun."""
        return self._text_side


def stored_teacher(folder, teacher, views, features, cache_log_mel=True, **options):
    """A recipe's teacher: `teacher` in the loop where `folder` is None, else one with cached targets.

    Arguments
    ---------
    folder : str or os.PathLike or None
    teacher : tinyclap.teachers.FrozenTeacher
    views : tinyclap.data.crop_views.CropViews
    features : tinyclap.features.log_mel.LogMel. The student's.
    cache_log_mel : bool. Store log-mels too: no audio is read, and a crop of 5 s at hop 320 takes 88 kB more.
    options : See :class:`EmbeddingStore`.
    """
    if folder is None:
        return teacher
    return StoredTeacher(EmbeddingStore(folder, teacher, views, features if cache_log_mel else None, **options))

"""Cache of a captioning teacher's targets for each view: clip embedding, caption and, optionally, word choices."""

import numpy as np
import torch

from tinyclap.data import caption_shards
from tinyclap.data.caption_choices import joined_choices, packed_choices
from tinyclap.data.caption_shards import TaughtCaptions
from tinyclap.data.shard_store import ShardStore
from tinyclap.data.shards import read_json
from tinyclap.data.workers import ShardMaker, as_stored
from tinyclap.errors import CheckpointError
from tinyclap.files import sha256_of, write_json

_WORDS = "words.json"  # the teacher's vocabulary, where there are word choices; its checksum is in the note


class CaptionStore(ShardStore):
    """Captions and embeddings of a run; arguments as for :class:`tinyclap.data.shard_store.ShardStore`.

    The teacher has ``teach_captions(wavs, sample_rate_hz)`` → ((B, D), B captions). One whose ``n_word_choices`` is not
    0 has ``words`` and ``teach_words(wavs, sample_rate_hz)``, which adds :class:`WordChoices`.
    Loaded, ``taught`` is a :class:`tinyclap.data.caption_shards.TaughtCaptions`.
    """

    kind = "caption store"

    @property
    def format(self):
        """Version of the files and of what is computed."""
        return caption_shards.FORMAT

    @property
    def shard_size(self):
        """Views of a shard."""
        return caption_shards.SHARD_SIZE

    def facts(self):
        """Nothing beside teacher and views."""
        return {}

    def remarks(self):
        """Write the teacher's vocabulary where there are word choices; its checksum."""
        if not _n_choices(self.teacher):
            return {}
        write_json(self.folder / _WORDS, {"words": self.teacher.load().words})
        return {"words_sha256": sha256_of(self.folder / _WORDS)}

    def maker(self, parts):
        """The maker of shards."""
        return _CaptionMaker(self.folder, self.teacher, parts, self.batch_size, self.device)

    def open(self, keys_by_part):
        """The targets in the shards."""
        return TaughtCaptions(self.folder, keys_by_part, self._words())

    def get(self, name, view):
        """Teacher targets of a view: (embedding, float32 tensor (D,); caption, str)."""
        return self.load().taught.get(name, view)

    def _words(self):
        """The vocabulary of the word choices, or None where there are none."""
        promised, path = self.note().get("words_sha256"), self.folder / _WORDS
        if promised is None:
            return None
        if not path.exists() or sha256_of(path) != promised:
            raise CheckpointError(
                f"{path} is missing, or has another sha256, and without it the store's word choices mean nothing; "
                "bring it back, or delete the folder to make it again"
            )
        return read_json(path)["words"]


def make_store(folder, **options):
    """A :class:`CaptionStore`, or None where `folder` is None: a run without a teacher."""
    return None if folder is None else CaptionStore(folder, **options)


class _CaptionMaker(ShardMaker):
    """Shards of embeddings, captions and word choices."""

    def contents(self, part, keys, batches):
        """``npy``: embeddings; ``json``: views and captions; ``npz``: word choices."""
        rows, captions, choices, rate = [], [], [], self.parts[part][0].sample_rate_hz
        for batch, heard in batches:
            wavs = [torch.from_numpy(wav).to(self.device or "cpu") for wav, _ in heard]
            if _n_choices(self.teacher):
                names = ("clip", "caption", "token_choices")
                embeddings, said, more = self.teacher.targets(wavs, rate, names).values()
                choices.append(packed_choices(more, batch))
            else:
                embeddings, said = self.teacher.targets(wavs, rate, ("clip", "caption")).values()
            if len(said) != len(batch):
                raise CheckpointError(
                    f"the teacher answered {len(batch)} views by {len(said)} captions; it owes one for each"
                )
            rows.append(as_stored(embeddings, batch))
            captions += said
        contents = {"npy": np.concatenate(rows), "json": {"keys": keys, "captions": captions}}
        return {**contents, "npz": joined_choices(choices)} if choices else contents


def _n_choices(teacher):
    """Word choices of a teacher at each place; 0 for most teachers."""
    return getattr(teacher, "n_word_choices", 0)

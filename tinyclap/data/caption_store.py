"""What a captioning teacher says of each view, worked out once: its clip embedding and its caption.

The teacher costs seconds a clip, the student milliseconds: asked in the training loop, the teacher would be the
training. The store is made in shards that are there whole or not at all, goes on where it was stopped, and knows who
made it and of what.
"""

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
    """The captions and embeddings of a run; see :class:`tinyclap.data.shard_store.ShardStore` for its arguments.

    The teacher has ``teach_captions(wavs, sample_rate_hz)`` → ((B, D), B captions). One whose ``n_word_choices`` is not
    0 has ``words`` and ``teach_words(wavs, sample_rate_hz)``, which gives :class:`WordChoices` too.
    Loaded, ``taught`` is a :class:`tinyclap.data.caption_shards.TaughtCaptions`.
    """

    kind = "caption store"

    @property
    def format(self):
        """Of the files, and of what is computed."""
        return caption_shards.FORMAT

    @property
    def shard_size(self):
        """Views of a shard."""
        return caption_shards.SHARD_SIZE

    def facts(self):
        """Nothing more than the teacher and the views decides what is in the store."""
        return {}

    def remarks(self):
        """Write the teacher's vocabulary down where there are word choices, and its checksum."""
        if not _n_choices(self.teacher):
            return {}
        write_json(self.folder / _WORDS, {"words": self.teacher.load().words})
        return {"words_sha256": sha256_of(self.folder / _WORDS)}

    def maker(self, parts):
        """What makes the shards."""
        return _CaptionMaker(self.folder, self.teacher, parts, self.batch_size, self.device)

    def open(self, keys_by_part):
        """What is in the shards."""
        return TaughtCaptions(self.folder, keys_by_part, self._words())

    def get(self, name, view):
        """What the teacher said of a view: (embedding, float32 tensor of shape (D,); caption, str)."""
        return self.load().taught.get(name, view)

    def _words(self):
        """The vocabulary of the store's word choices, or None where it has none."""
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
                embeddings, said, more = self.teacher.teach_words(wavs, rate)
                choices.append(packed_choices(more, batch))
            else:
                embeddings, said = self.teacher.teach_captions(wavs, rate)
            if len(said) != len(batch):
                raise CheckpointError(
                    f"the teacher answered {len(batch)} views by {len(said)} captions; it owes one for each"
                )
            rows.append(as_stored(embeddings, batch))
            captions += said
        contents = {"npy": np.concatenate(rows), "json": {"keys": keys, "captions": captions}}
        return {**contents, "npz": joined_choices(choices)} if choices else contents


def _n_choices(teacher):
    """How many words a teacher gives in each place; few teachers can."""
    return getattr(teacher, "n_word_choices", 0)

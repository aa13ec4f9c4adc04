"""Word-level ids for text towers over whole words, by a vocabulary or by hash."""

import re
import zlib

PAD, UNKNOWN = "<pad>", "<unk>"


def words_of(text):
    """Split `text` into its words: lower case, runs of letters."""
    return re.findall(r"[^\W\d_]+", text.lower())


class WordIds:
    """Texts → ids of their words; ``n_ids`` is the size of the embedding table, special words included.

    Arguments
    ---------
    vocabulary : list of str or None. Known words, without the two special ones. None: the id is a hash of the word.
    max_words : int. Maximum number of words of a text; the rest is cut.
    n_buckets : int. Distinct hashes (CRC-32) where there is no vocabulary.

    Example
    -------
    >>> WordIds(["a", "dog", "barks"])(["A dog barks", "thunder", "…"])
    [[2, 3, 4], [1], [1]]
    """

    pad_id, unknown_id = 0, 1

    def __init__(self, vocabulary=None, max_words=32, n_buckets=4096):
        self.max_ids, self.n_buckets = max_words, n_buckets if vocabulary is None else None
        self._ids = {word: index for index, word in enumerate([PAD, UNKNOWN, *(vocabulary or ())])}
        self.n_ids = len(self._ids) + (self.n_buckets or 0)

    @property
    def vocabulary(self):
        """Known words without the special ones; None where ids are hashes."""
        return list(self._ids)[2:] if self.n_buckets is None else None

    def __call__(self, texts):
        """Ids of texts, cut to ``max_ids``; a text without words is one ``<unk>``: list of list of int."""
        return [self.ids(text)[: self.max_ids] or [self.unknown_id] for text in texts]

    def ids(self, text):
        """All ids of a text, not cut: list of int."""
        if self.n_buckets is None:
            return [self._ids.get(word, self.unknown_id) for word in words_of(text)]
        return [len(self._ids) + zlib.crc32(word.encode()) % self.n_buckets for word in words_of(text)]

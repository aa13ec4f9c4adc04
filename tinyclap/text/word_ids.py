"""Whole words as numbers, by a vocabulary or by their hash, for text towers over words. No torch."""

import re
import zlib

PAD, UNKNOWN = "<pad>", "<unk>"


def words_of(text):
    """Split `text` into its words: lower case, runs of letters.

    Example
    -------
    >>> words_of("A dog's bark - twice!")
    ['a', 'dog', 's', 'bark', 'twice']
    """
    return re.findall(r"[^\W\d_]+", text.lower())


class WordIds:
    """Texts → the numbers of their words.

    Arguments
    ---------
    vocabulary : list of str or None
        Known words, without the two special ones. None: every word is known by its hash.
    max_words : int
        Words of a text that are read; later ones are cut off.
    n_buckets : int
        Distinct hashes (CRC-32) where there is no vocabulary.

    Attributes
    ----------
    n_ids : int
        Numbers that there are, the special ones among them.
    pad_id : int

    Example
    -------
    >>> WordIds(["a", "dog", "barks"])(["A dog barks", "thunder", "…"])
    [[2, 3, 4], [1], [1]]
    """

    pad_id = 0

    def __init__(self, vocabulary=None, max_words=32, n_buckets=4096):
        self.max_words, self.n_buckets = max_words, n_buckets if vocabulary is None else None
        self._ids = {word: index for index, word in enumerate([PAD, UNKNOWN, *(vocabulary or ())])}
        self.n_ids = len(self._ids) + (self.n_buckets or 0)

    @property
    def vocabulary(self):
        """Known words without the special ones: list of str; None where words are known by their hash."""
        return list(self._ids)[2:] if self.n_buckets is None else None

    def __call__(self, texts):
        """Number the words of texts; words that are not known, and a text without any word, become ``<unk>``.

        Arguments
        ---------
        texts : sequence of str, N of them

        Returns
        -------
        list of list of int, N of them, none empty
        """
        unknown = self._ids[UNKNOWN]
        return [[self._id_of(word) for word in words_of(text)][: self.max_words] or [unknown] for text in texts]

    def _id_of(self, word):
        if self.n_buckets is None:
            return self._ids.get(word, self._ids[UNKNOWN])
        return len(self._ids) + zlib.crc32(word.encode()) % self.n_buckets

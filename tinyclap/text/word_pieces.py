"""BERT's tokenizer for lower-cased text, with the Python library alone.

Source: Devlin et al., "BERT", NAACL 2019, and its published code: text is cleaned and split into words and signs, and
every word into the longest pieces of a vocabulary, from its left.
"""

import re
import unicodedata
from pathlib import Path

from tinyclap.errors import CheckpointError

CLS, SEP, PAD, UNKNOWN, MASK = "[CLS]", "[SEP]", "[PAD]", "[UNK]", "[MASK]"
_SPECIAL = re.compile("(" + "|".join(map(re.escape, (CLS, SEP, PAD, UNKNOWN, MASK))) + ")")
_MAX_WORD = 100  # characters; a longer word is unknown
_IDEOGRAPHS = (
    *((0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F)),
    *((0x2B920, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F)),
)


class WordPieces:
    """Texts → numbers of word pieces.

    Arguments
    ---------
    vocabulary : str or os.PathLike
        A text file with a piece a line, whose number is that of the line; ``##`` starts pieces within a word.
    max_tokens : int
        Of a text, its first and last sign included; what is beyond is cut off.

    Attributes
    ----------
    pad_id : int

    Raises
    ------
    CheckpointError
        The file lacks one of the special pieces.
    """

    def __init__(self, vocabulary, max_tokens=512):
        pieces = Path(vocabulary).read_text(encoding="utf-8").split("\n")
        if not pieces[-1]:
            pieces.pop()
        self._ids = dict(zip(pieces, range(len(pieces)), strict=True))
        lacking = [name for name in (CLS, SEP, PAD, UNKNOWN) if name not in self._ids]
        if lacking:
            raise CheckpointError(f"{vocabulary}: no vocabulary of word pieces (lacks {', '.join(lacking)})")
        self.max_tokens, self.pad_id = max_tokens, self._ids[PAD]

    def __call__(self, texts):
        """Number the pieces of texts.

        Arguments
        ---------
        texts : sequence of str, N of them

        Returns
        -------
        list of list of int, N of them
            Each between [CLS] and [SEP], at most ``max_tokens`` long.
        """
        first, last = self._ids[CLS], self._ids[SEP]
        return [[first, *self._pieces(text)[: self.max_tokens - 2], last] for text in texts]

    def _pieces(self, text):
        ids = []
        for part in _SPECIAL.split(text):  # a special piece that is written out in a text is taken for itself
            if part in self._ids and _SPECIAL.fullmatch(part):
                ids.append(self._ids[part])
            else:
                ids += [number for word in words_and_signs(part) for number in self._pieces_of_word(word)]
        return ids

    def _pieces_of_word(self, word):
        """The longest piece from the left, again and again; one unknown piece where that comes to an end."""
        unknown = [self._ids[UNKNOWN]]
        if len(word) > _MAX_WORD:
            return unknown
        ids, start = [], 0
        while start < len(word):
            prefix = "##" if start else ""
            end = next((end for end in range(len(word), start, -1) if prefix + word[start:end] in self._ids), None)
            if end is None:
                return unknown
            ids.append(self._ids[prefix + word[start:end]])
            start = end
        return ids


def words_and_signs(text):
    """Split text: lower case, accents off, control characters out, every sign and ideograph a word of its own.

    Arguments
    ---------
    text : str

    Returns
    -------
    list of str

    Example
    -------
    >>> words_and_signs("Café-Bar, 东京!")
    ['cafe', '-', 'bar', ',', '东', '京', '!']
    """
    if text.isascii():  # most text, at a tenth of the time
        cleaned = re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", "", text).lower()
        return re.findall(r"[a-z0-9]+|[^a-z0-9\s]", cleaned)
    cleaned = "".join(map(_cleaned, text))
    decomposed = (sign for sign in unicodedata.normalize("NFD", cleaned) if unicodedata.category(sign) != "Mn")
    lowered = "".join(decomposed).lower()
    return "".join(f" {sign} " if _is_punctuation(sign) else sign for sign in lowered).split()


def _cleaned(sign):
    """A character without control characters, as one kind of space, or apart from its neighbours."""
    if sign in "\t\n\r":
        return " "
    if sign in "\0\ufffd" or unicodedata.category(sign) in ("Cc", "Cf", "Co"):
        return ""
    if sign.isspace():
        return " "
    return f" {sign} " if any(first <= ord(sign) <= last for first, last in _IDEOGRAPHS) else sign


def _is_punctuation(sign):
    """Punctuation of Unicode, and all of ASCII that is neither letter, digit nor space."""
    if sign.isascii():
        return not sign.isalnum() and not sign.isspace()
    return unicodedata.category(sign)[0] == "P"

"""BERT's uncased WordPiece tokenizer of an exported text tower, by the library `tokenizers`."""

from pathlib import Path

from tinyclap.errors import CheckpointError, ConfigError

_SPECIAL = ("[CLS]", "[SEP]", "[PAD]", "[UNK]")


class WordPieces:
    """Texts → ids of word pieces, as `transformers.BertTokenizer` has them.

    `vocabulary` is a text file with a piece a line (``vocab.txt``), whose id is the line's number; `max_tokens` the
    maximum length of a text, [CLS] and [SEP] counted.
    """

    def __init__(self, vocabulary, max_tokens=512):
        try:
            from tokenizers import BertWordPieceTokenizer
        except ImportError as error:
            raise ConfigError(f"tokenizers is not installed ({error}); run: pip install 'tinyclap[runtime]'") from error
        pieces = Path(vocabulary).read_text(encoding="utf-8").removesuffix("\n").split("\n")
        ids = {piece: index for index, piece in enumerate(pieces)}
        absent = [name for name in _SPECIAL if name not in ids]
        if absent:
            raise CheckpointError(f"{vocabulary}: no vocabulary of word pieces (lacks {', '.join(absent)})")
        self._first, self._last, self.pad_id, self.unknown_id = (ids[name] for name in _SPECIAL)
        self._tokenizer, self.max_ids = BertWordPieceTokenizer(ids), max_tokens - 2

    def __call__(self, texts):
        """Ids of texts, each cut to ``max_ids`` and between [CLS] and [SEP]: list of list of int."""
        return [[self._first, *self.ids(text)[: self.max_ids], self._last] for text in texts]

    def ids(self, text):
        """All ids of a text, neither cut nor between [CLS] and [SEP]: list of int."""
        # one at a time: encode_batch starts threads, and warns a process that forks after them
        return self._tokenizer.encode(text, add_special_tokens=False).ids

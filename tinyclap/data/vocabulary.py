"""The vocabulary of a captioner's run: from its training captions, or from a file."""

import logging
from collections import Counter
from pathlib import Path

from tinyclap.errors import ConfigError, ManifestError
from tinyclap.text.tokenizer import WordTokenizer, caption_words

logger = logging.getLogger(__name__)


class Vocabulary:
    """Writes the vocabulary of a run before its model is built: an entry of a recipe's ``prepare``.

    Arguments
    ---------
    captions_of : tinyclap.data.corpora.Corpora or tinyclap.data.caption_texts.CaptionTexts
        Prepared already; its training captions give the words.
    path : str or os.PathLike. Where the vocabulary is written, as JSON.
    given : str or os.PathLike, optional. What :meth:`tinyclap.text.tokenizer.WordTokenizer.load` reads instead.
    min_count, max_size : int. See :meth:`tinyclap.text.tokenizer.WordTokenizer.from_captions`.
    """

    def __init__(self, captions_of, path, given=None, min_count=1, max_size=None):
        self.captions_of, self.path, self.given = captions_of, Path(path), given
        self.min_count, self.max_size = min_count, max_size

    def prepare(self):
        """Write the file atomically; of a run that has one already, refuse other words."""
        tokenizer = self._made() if self.given is None else WordTokenizer.load(self.given)
        if not self.path.exists():
            tokenizer.save(self.path)
        elif (before := WordTokenizer.load(self.path)).words != tokenizer.words:
            raise ConfigError(
                f"{self.path} holds {before.n_words} words, and the captions now give {tokenizer.n_words}, or others: "
                "the ids of a run's words must not change. Give another --output_folder, or delete the file if nothing "
                "was trained with it"
            )

    def _made(self):
        captions = self.captions_of.captions()
        if not captions:
            raise ManifestError("none of the training clips has a caption: there are no words to learn")
        return WordTokenizer.from_captions(captions, self.min_count, self.max_size)


def report_words(captions, tokenizer, max_words, what):
    """Log how many words of `captions`, called `what`, are unknown, and how many captions are cut or empty.

    Arguments
    ---------
    captions : list of str
    tokenizer : tinyclap.text.tokenizer.WordTokenizer
    max_words : int. Longer captions are cut.
    what : str
    """
    lengths = [len(caption_words(caption)) for caption in captions]
    unknown = Counter(word for caption in captions for word in tokenizer.unknown_words(caption))
    n_long, n_empty = sum(length > max_words for length in lengths), lengths.count(0)
    shown = f" ({', '.join(word for word, _ in unknown.most_common(5))} …)" if unknown else ""
    facts = f"{unknown.total()} of {sum(lengths)} words are not in the vocabulary and become <unk>{shown}"
    cut = f"{n_long} are cut at {max_words} words, {n_empty} have no word"
    level = logging.WARNING if unknown or n_long or n_empty else logging.INFO
    logger.log(level, "%s (%d): %s; %s", what, len(captions), facts, cut)

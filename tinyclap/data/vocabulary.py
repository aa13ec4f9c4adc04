"""The vocabulary of a captioner's run: from its training captions, or from a file."""

import logging
from collections import Counter
from pathlib import Path

from tinyclap.errors import ConfigError, ManifestError
from tinyclap.text.tokenizer import WordTokenizer, caption_words

logger = logging.getLogger(__name__)


class Vocabulary:
    """Writes the vocabulary of a run to `path` before its model is built: an entry of a recipe's ``prepare``.

    Its words are those that occur `min_count` times in the training captions of `captions_of`, prepared Corpora or
    CaptionTexts; or what :meth:`tinyclap.text.tokenizer.WordTokenizer.load` reads from `given`.
    """

    def __init__(self, captions_of, path, given=None, min_count=1):
        self.captions_of, self.path, self.given, self.min_count = captions_of, Path(path), given, min_count

    def prepare(self):
        """Write the file atomically; of a run that has one already, refuse other words."""
        if self.given is not None:
            tokenizer = WordTokenizer.load(self.given)
        elif captions := self.captions_of.captions():
            tokenizer = WordTokenizer.from_captions(captions, self.min_count)
        else:
            raise ManifestError("none of the training clips has a caption: there are no words to learn")
        if not self.path.exists():
            tokenizer.save(self.path)
        elif (before := WordTokenizer.load(self.path)).words != tokenizer.words:
            raise ConfigError(
                f"{self.path} holds {before.n_words} words, and the captions now give {tokenizer.n_words}, or others: "
                "the ids of a run's words must not change. Give another --output_folder, or delete the file if nothing "
                "was trained with it"
            )


def report_words(named, tokenizer, max_words):
    """Log how many words of `named`, name → list of captions, are unknown, and how many captions are cut or empty."""
    for name, captions in named.items():
        lengths = [len(caption_words(caption)) for caption in captions]
        unknown = Counter(word for caption in captions for word in tokenizer.unknown_words(caption))
        n_long, n_empty = sum(length > max_words for length in lengths), lengths.count(0)
        shown = f" ({', '.join(word for word, _ in unknown.most_common(5))} …)" if unknown else ""
        facts = f"{unknown.total()} of {sum(lengths)} words are not in the vocabulary and become <unk>{shown}"
        cut = f"{n_long} are cut at {max_words} words, {n_empty} have no word"
        level = logging.WARNING if unknown or n_long or n_empty else logging.INFO
        logger.log(level, "%s (%d): %s; %s", name, len(captions), facts, cut)

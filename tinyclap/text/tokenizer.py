"""Word-level tokenizer of the captioners, stored as JSON.

Source: the vocabulary of the published EfficientNet-B2 captioners (github.com/wsntxxn/AudioCaption).
"""

import re
from collections import Counter
from pathlib import Path

from tinyclap.config.registry import configurable
from tinyclap.errors import ConfigError
from tinyclap.files import CONFIG, read_json, write_json
from tinyclap.text.labels import repeated_in

PAD, START, END, UNKNOWN = "<pad>", "<start>", "<end>", "<unk>"
SPECIAL = (PAD, START, END, UNKNOWN)
_WORD = re.compile(r"[a-z0-9]+(?:['’][a-z0-9]+)*")


def caption_words(caption):
    """The words of a caption: lower case, no punctuation; hyphens separate, apostrophes inside words stay.

    Example
    -------
    >>> caption_words("A man's dog barks -- twice; rain-soaked street.")
    ['a', "man's", 'dog', 'barks', 'twice', 'rain', 'soaked', 'street']
    """
    return [word.replace("’", "'") for word in _WORD.findall(caption.lower())]


@configurable
class WordTokenizer:
    """Captions to word ids and back; `words` are in the order of ids, and have ``<pad>``, ``<start>`` and so on.

    Example
    -------
    >>> tokenizer = WordTokenizer.from_captions(["A dog barks.", "Rain, and a dog"])
    >>> tokenizer.encode("A dog meows!"), tokenizer.decode([1, 5, 4, 2, 2])
    ([1, 4, 5, 3, 2], 'dog a')
    """

    def __init__(self, words):
        self.words = [str(word) for word in words]
        self._ids = {word: index for index, word in enumerate(self.words)}
        if twice := repeated_in(self.words):
            raise ConfigError(f"the vocabulary has these words twice: {', '.join(twice[:10])}")
        absent = [word for word in SPECIAL if word not in self._ids]
        if absent:
            raise ConfigError(f"the vocabulary of {len(self.words)} words lacks {', '.join(absent)}")
        self.n_words = len(self.words)
        self.pad_id, self.start_id, self.end_id, self.unk_id = (self._ids[word] for word in SPECIAL)

    def encode(self, caption, max_words=None):
        """Ids of at most `max_words` words of a caption, between ``<start>`` and ``<end>``."""
        words = caption_words(caption)[:max_words]
        return [self.start_id, *(self._ids.get(word, self.unk_id) for word in words), self.end_id]

    def unknown_words(self, caption):
        """The words of a caption that are not in the vocabulary."""
        return [word for word in caption_words(caption) if word not in self._ids]

    def decode(self, ids):
        """The text of ids (L,) up to the first ``<end>``, without ``<pad>`` and ``<start>``."""
        words = []
        for index in ids:
            if int(index) == self.end_id:
                break
            if int(index) not in (self.pad_id, self.start_id):
                words.append(self.words[int(index)])
        return " ".join(words)

    @classmethod
    def from_captions(cls, captions, min_count=1, max_size=None):
        """Vocabulary of captions: special words, then all that occur `min_count` times, most frequent first.

        `max_size` counts the special words; words of equal frequency are in alphabetical order. A ConfigError where no
        word is left.
        """
        counts = Counter(word for caption in captions for word in caption_words(caption))
        kept = sorted((word for word, count in counts.items() if count >= min_count), key=lambda w: (-counts[w], w))
        if not kept:
            raise ConfigError(f"no word occurs {min_count} times or more in these captions, so there is no vocabulary")
        return cls([*SPECIAL, *kept][:max_size])

    def save(self, path):
        """Write ``{"words": […]}`` as JSON, atomically."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"words": self.words})

    @classmethod
    def load(cls, path):
        """Read a vocabulary from JSON (pickles are not read), or from the folder of a run or of a saved captioner.

        JSON is ``{"words": […]}``, a list of words, a map from words to ids or back (the published ``DictTokenizer``),
        or a word-level ``tokenizer.json`` of the library `tokenizers`.
        """
        path = Path(path)
        if path.is_dir():
            places = [path / name for name in (CONFIG, f"student/{CONFIG}", "vocabulary.json")]
            path = next((place for place in places if place.is_file()), path)
        advice = "give a vocabulary as JSON (of a pickle that you trust: json.dump(pickle.load(…), …))"
        content = read_json(path, advice, ConfigError, kind=object)
        return cls(_words_in(content, path))


def _words_in(content, path):
    """The words of any of the formats of :meth:`WordTokenizer.load`, in the order of ids."""
    if isinstance(content, dict) and isinstance(content.get("model"), dict) and "tokenizer" in content["model"]:
        content = content["model"]["tokenizer"]
    elif isinstance(content, dict) and isinstance(content.get("model"), dict):
        added = {token["content"]: token["id"] for token in content.get("added_tokens") or []}
        content = {**content["model"].get("vocab", {}), **added}
    for key in ("words", "word2idx", "vocab"):
        if isinstance(content, dict) and isinstance(content.get(key), (list, dict)):
            content = content[key]
    if isinstance(content, list):
        return content
    if not isinstance(content, dict) or not content:
        raise ConfigError(f"{path} holds no vocabulary: neither a list of words nor a map between words and ids")
    try:
        by_word = all(isinstance(value, int) for value in content.values())
        by_id = {value if by_word else int(word): word if by_word else value for word, value in content.items()}
    except ValueError as error:
        raise ConfigError(f"{path}: a map of neither words to ids nor ids to words ({error})") from error
    if sorted(by_id) != list(range(len(by_id))) or len(by_id) != len(content):
        raise ConfigError(f"{path}: the ids of its {len(content)} words are not 0 to {len(content) - 1}, each once")
    return [by_id[index] for index in range(len(by_id))]

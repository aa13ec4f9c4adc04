"""Words and their ids: the word-level tokenizer of the captioners, kept as JSON.

Source: the word list of the published EfficientNet-B2 captioners (github.com/wsntxxn/AudioCaption: one id a word, with
``<pad>``, ``<start>``, ``<end>`` and ``<unk>`` among them).
"""

import json
import os
import re
from collections import Counter
from pathlib import Path

from tinyclap.config.registry import configurable
from tinyclap.errors import ConfigError

PAD, START, END, UNKNOWN = "<pad>", "<start>", "<end>", "<unk>"
SPECIAL = (PAD, START, END, UNKNOWN)
_WORD = re.compile(r"[a-z0-9]+(?:['’][a-z0-9]+)*")


def caption_words(caption):
    """The words of a caption: lower case, without punctuation; hyphens separate, apostrophes inside words stay.

    Arguments
    ---------
    caption : str

    Returns
    -------
    list of str

    Example
    -------
    >>> caption_words("A man's dog barks -- twice; rain-soaked street.")
    ['a', "man's", 'dog', 'barks', 'twice', 'rain', 'soaked', 'street']
    """
    return [word.replace("’", "'") for word in _WORD.findall(caption.lower())]


@configurable
class WordTokenizer:
    """Captions to word ids and back.

    Arguments
    ---------
    words : list of str
        All words, the id of each being its place; ``<pad>``, ``<start>``, ``<end>`` and ``<unk>`` among them, anywhere.

    Raises
    ------
    ConfigError
        A special word is missing, or a word is there twice.

    Example
    -------
    >>> tokenizer = WordTokenizer.from_captions(["A dog barks.", "Rain, and a dog"])
    >>> tokenizer.encode("A dog meows!"), tokenizer.decode([1, 5, 4, 2, 2])
    ([1, 4, 5, 3, 2], 'dog a')
    """

    def __init__(self, words):
        self.words = [str(word) for word in words]
        self._ids = {word: index for index, word in enumerate(self.words)}
        if len(self._ids) != len(self.words):
            twice = [word for word, count in Counter(self.words).items() if count > 1]
            raise ConfigError(f"the vocabulary has these words twice: {', '.join(twice[:10])}")
        absent = [word for word in SPECIAL if word not in self._ids]
        if absent:
            raise ConfigError(f"the vocabulary of {len(self.words)} words lacks {', '.join(absent)}")
        self.n_words = len(self.words)
        self.pad_id, self.start_id, self.end_id, self.unk_id = (self._ids[word] for word in SPECIAL)

    def encode(self, caption, max_words=None):
        """Ids of a caption with ``<start>`` before and ``<end>`` after it; at most `max_words` words between them."""
        words = caption_words(caption)[:max_words]
        return [self.start_id, *(self._ids.get(word, self.unk_id) for word in words), self.end_id]

    def unknown_words(self, caption):
        """The words of a caption that are not in the vocabulary."""
        return [word for word in caption_words(caption) if word not in self._ids]

    def decode(self, ids):
        """The words of ids (L,), up to the first ``<end>``; ``<pad>`` and ``<start>`` are left out."""
        words = []
        for index in ids:
            if int(index) == self.end_id:
                break
            if int(index) not in (self.pad_id, self.start_id):
                words.append(self.words[int(index)])
        return " ".join(words)

    @classmethod
    def from_captions(cls, captions, min_count=1, max_size=None):
        """The vocabulary of a corpus: special words first, then by falling frequency, equals in alphabetical order.

        Arguments
        ---------
        captions : iterable of str
        min_count : int
            Rarer words are left out.
        max_size : int, optional
            Words in all, special ones counted.

        Raises
        ------
        ConfigError
            No word is left.
        """
        counts = Counter(word for caption in captions for word in caption_words(caption))
        kept = sorted((word for word, count in counts.items() if count >= min_count), key=lambda w: (-counts[w], w))
        if not kept:
            raise ConfigError(f"no word occurs {min_count} times or more in these captions, so there is no vocabulary")
        return cls([*SPECIAL, *kept][:max_size])

    def save(self, path):
        """Write ``{"words": […]}`` as JSON, whole or not at all."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + ".part")
        part.write_text(json.dumps({"words": self.words}, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
        os.replace(part, path)

    @classmethod
    def load(cls, path):
        """Read a vocabulary: ours, or a published one.

        Arguments
        ---------
        path : str or os.PathLike
            JSON: ``{"words": […]}`` (ours), a list of words, a map from words to ids or from ids to words (the
            published ``DictTokenizer``), or a ``tokenizer.json`` of the `tokenizers` library with a word-level model.
            The folder of a run or of a saved captioner, for the words of that captioner.

        Raises
        ------
        ConfigError
            No such file, not JSON (a pickle is not read: what it holds is executed), or ids with gaps.
        """
        path = Path(path)
        if path.is_dir():
            places = [path / name for name in ("config.json", "student/config.json", "vocabulary.json")]
            path = next((place for place in places if place.is_file()), path)
        if not path.is_file():
            raise ConfigError(f"no vocabulary at {path}")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            raise ConfigError(
                f"{path} is not JSON ({error}). A published pickle can be turned into it by whoever trusts it: "
                "json.dump(pickle.load(open(PICKLE, 'rb')), open(JSON, 'w'))"
            ) from error
        return cls(_words_in(content, path))


def _words_in(content, path):
    """The words of any of the formats, in the order of their ids."""
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
    by_word = all(isinstance(value, int) for value in content.values())
    by_id = {value: word for word, value in content.items()} if by_word else _by_number(content, path)
    if sorted(by_id) != list(range(len(by_id))) or len(by_id) != len(content):
        raise ConfigError(f"{path}: the ids of its {len(content)} words are not 0 to {len(content) - 1}, each once")
    return [by_id[index] for index in range(len(by_id))]


def _by_number(content, path):
    try:
        return {int(key): word for key, word in content.items()}
    except ValueError as error:
        raise ConfigError(f"{path}: a map of neither words to ids nor ids to words ({error})") from error

"""The sound events that a caption mentions."""

import re

from tinyclap.text.tokenizer import caption_words

# Between two events of a caption.
_BETWEEN = re.compile(
    r"[,;.]|\b(?:and then|followed by|along with|alongside|while|as|with|and|then|before|after|during|over)\b"
)
# Words that are no event by themselves.
_EMPTY = frozenset(
    "a an the is are be being it its by in on of to again then followed background nearby distance distant".split()
)


def split_events(caption, most=4):
    """The first `most` events of a caption, as phrases in lower case; the whole caption where it cannot be split.

    Example
    -------
    >>> split_events("A woman talks nearby as water pours, followed by a dog barking in the background.")
    ['a woman talks nearby', 'water pours', 'a dog barking in the background']
    """
    phrases = [phrase.strip() for phrase in _BETWEEN.split(caption.lower())]
    return [phrase for phrase in phrases if set(caption_words(phrase)) - _EMPTY][:most] or [caption.lower().strip()]

"""Captions are split into the events that they mention."""

import pytest

from tinyclap.text.events import split_events


@pytest.mark.parametrize(
    ("caption", "events"),
    [
        ("A dog barks", ["a dog barks"]),
        ("Wind blows and a man speaks while birds chirp", ["wind blows", "a man speaks", "birds chirp"]),
        ("A door is opened, then after a pause it is again", ["a door is opened", "a pause it is again"]),
        ("Handsaw and sandpaper", ["handsaw", "sandpaper"]),
        ("And then.", ["and then."]),
    ],
)
def test_captions_are_split_where_one_event_ends(caption, events):
    assert split_events(caption) == events

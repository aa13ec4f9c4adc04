"""What can be said of a synthesised scene: phrases for each class, and sentences for one event or two."""

# Noun phrases ("the sound of …") and clauses ("… while …") for each class; the bare class name is one more noun phrase.
PHRASES = {
    "dog_bark": (("a barking dog", "barks of a dog", "a dog"), ("a dog barks", "a dog is barking")),
    "cat_meow": (("a meowing cat", "the meow of a cat", "a cat"), ("a cat meows", "a cat is meowing")),
    "bird_chirp": (("a chirping bird", "chirps of a bird", "birds singing"), ("a bird chirps", "birds are chirping")),
    "cricket": (
        ("a chirring cricket", "crickets at night", "an insect"),
        ("a cricket chirrs", "crickets are chirring"),
    ),
    "siren": (
        ("a wailing siren", "the siren of an ambulance", "a police siren"),
        ("a siren wails", "a siren is wailing"),
    ),
    "car_horn": (("a honking car", "the horn of a car", "honks of a horn"), ("a car honks", "a car horn is blown")),
    "engine_idling": (
        ("an idling engine", "a motor running", "the engine of a truck"),
        ("an engine idles", "an engine is idling"),
    ),
    "helicopter": (
        ("a flying helicopter", "the blades of a helicopter", "a helicopter"),
        ("a helicopter flies over", "a helicopter is hovering"),
    ),
    "rain": (("falling rain", "heavy rain", "raindrops on a roof"), ("rain falls", "it is raining")),
    "thunder": (("rolling thunder", "a clap of thunder", "a thunderstorm"), ("thunder rolls", "thunder is rumbling")),
    "wind": (("blowing wind", "gusts of wind", "strong wind"), ("the wind blows", "wind is howling")),
    "water_drops": (
        ("dripping water", "drops of water", "a leaking tap"),
        ("water drips", "drops of water are falling"),
    ),
    "church_bell": (
        ("a tolling bell", "the bell of a church", "church bells"),
        ("a bell tolls", "a church bell is ringing"),
    ),
    "clock_tick": (("a ticking clock", "the tick of a clock", "a clock"), ("a clock ticks", "a clock is ticking")),
    "door_knock": (
        ("knocks on a door", "knocking on wood", "a knock at the door"),
        ("someone knocks on a door", "a person is knocking"),
    ),
    "footsteps": (("steps of a person", "a person walking", "walking feet"), ("someone walks", "a person is walking")),
    "keyboard_typing": (
        ("a clicking keyboard", "typing on a keyboard", "the keys of a computer"),
        ("someone types on a keyboard", "a person is typing"),
    ),
    "telephone_ring": (
        ("a ringing telephone", "the ring of a phone", "a telephone"),
        ("a telephone rings", "a phone is ringing"),
    ),
    "vacuum_cleaner": (
        ("a humming vacuum cleaner", "the noise of a vacuum", "a vacuum cleaner running"),
        ("a vacuum cleaner hums", "someone is vacuuming"),
    ),
    "glass_breaking": (
        ("breaking glass", "a shattering window", "shards of glass"),
        ("a glass breaks", "glass is shattering"),
    ),
}
_ONE_NOUN = ("{a}", "the sound of {a}", "{a} can be heard", "a recording of {a}", "this is the sound of {a}")
_ONE_CLAUSE = ("{a}", "{a} nearby", "{a} again and again")
_TOGETHER_NOUN = ("{a} and {b}", "the sound of {a} together with {b}", "{b} mixed with {a}")
_TOGETHER_CLAUSE = ("{a} while {b}", "{b} as {a}", "{a} and {b}")
_FAINT_NOUN = ("{a} with {b} in the background", "{a} over {b}")
_IN_TURN_NOUN = ("{a} followed by {b}", "{a}, then {b}", "the sound of {a}, after that {b}")
_IN_TURN_CLAUSE = ("{a}, then {b}", "first {a}, and then {b}", "{a} before {b}")


def captions_of(rng, events, relation, n_captions=3):
    """Different sentences for one scene.

    Arguments
    ---------
    rng : numpy.random.Generator
    events : sequence of str
        One class or two.
    relation : str
        "alone", "together", "faint" (the second is the fainter) or "in turn".
    n_captions : int

    Returns
    -------
    list of str

    Example
    -------
    >>> import numpy as np
    >>> len(set(captions_of(np.random.default_rng(0), ["rain", "siren"], "in turn")))
    3
    """
    nouns, clauses = {
        "alone": (_ONE_NOUN, _ONE_CLAUSE),
        "together": (_TOGETHER_NOUN, _TOGETHER_CLAUSE),
        "faint": (_TOGETHER_NOUN + _FAINT_NOUN, _TOGETHER_CLAUSE),
        "in turn": (_IN_TURN_NOUN, _IN_TURN_CLAUSE),
    }[relation]
    captions = []
    while len(captions) < n_captions:
        kind = int(rng.random() < 0.4)
        template = str(rng.choice((nouns, clauses)[kind]))
        # The bare class name is a noun phrase too: prompts of zero-shot classification are built of it.
        choices = [PHRASES[event][kind] + (() if kind else (event.replace("_", " "),)) for event in events]
        phrases = dict(zip("ab", (str(rng.choice(choice)) for choice in choices), strict=False))
        caption = template.format(**phrases)
        if caption not in captions:
            captions.append(caption)
    return captions

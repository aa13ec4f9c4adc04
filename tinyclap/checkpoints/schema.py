"""What ``config.json`` of an exported folder and of a saved model may hold: types and ranges, checked key by key.

A schema is a type, a dict (``"key?"`` may be missing, ``"*"`` stands for every key; keys that are not listed are free),
a list of one schema, a tuple of alternatives, a set of allowed strings, or a function whose docstring says what fits.
"""

import math

_NAMES = {dict: "a table", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
_NAMES |= {int: "a whole number", float: "a number"}


def problem(value, schema, place="it"):
    """What is wrong with a JSON value (called `place`) by a schema of this module: the first problem, or None.

    Example
    -------
    >>> problem({"window": 3}, {"window": {"min_s?": float}}, "")
    'window is a whole number, where a table belongs'
    """
    if isinstance(schema, tuple):
        found = [problem(value, each, place) for each in schema]
        return None if None in found else found[0]
    if isinstance(schema, set):
        fits = isinstance(value, str) and value in schema
        return None if fits else f"{place} is {value!r}; known here: {', '.join(sorted(schema))}"
    if isinstance(schema, dict) and isinstance(value, dict):
        for key, inner in schema.items():
            name = key.removesuffix("?")
            if key != "*" and name not in value:
                if key.endswith("?"):
                    continue
                return f"lacks {_inside(place, name)}"
            for each in value if key == "*" else [name]:
                if found := problem(value[each], inner, _inside(place, each)):
                    return found
        return None
    if isinstance(schema, list) and isinstance(value, list):
        return next(filter(None, (problem(each, schema[0], f"an entry of {place}") for each in value)), None)
    if schema is None or isinstance(schema, type):
        kind = type(None) if schema is None else schema
        if kind is object or type(value) is kind or (kind is float and type(value) is int):
            return None
    elif not isinstance(schema, (dict, list)):
        return None if schema(value) else f"{place} is not {schema.__doc__}"
    else:
        kind = type(schema)
    return f"{place} is {_NAMES.get(type(value), 'of no known kind')}, where {_NAMES.get(kind, 'another')} belongs"


def _inside(place, name):
    return f"{place}.{name}" if place else str(name)


def _number(lowest, highest, kind=int):
    def fits(value):
        is_number = type(value) is int or (kind is float and type(value) is float and math.isfinite(value))
        return is_number and lowest <= value <= highest

    fits.__doc__ = f"{_NAMES[kind]} from {lowest:g} to {highest:g}"
    return fits


def _texts(value):
    """a list of texts, one at least"""
    return isinstance(value, list) and bool(value) and all(isinstance(each, str) for each in value)


def _templates(value):
    """a list of prompts with one {} each"""
    return _texts(value) and all(each.count("{}") == 1 for each in value)


def _pair(value):
    """a pair of texts"""
    return _texts(value) and len(value) == 2


def _file_name(value):
    """the name of a file inside the folder"""
    return isinstance(value, str) and is_inside(value)


def is_inside(name):
    r"""Whether a file name stays inside its folder on every system.

    Example
    -------
    >>> [is_inside(name) for name in ("a.npz", "banks/a.npz", "../a", "/a", "C:a", r"a\\b", "a/./b", "")]
    [True, True, False, False, False, False, False, False]
    """
    return not set(name) & set("\\:\0") and not {"", ".", ".."} & set(name.split("/"))


_COUNT = _number(1, 1 << 30)
_WINDOW = {
    "window_s": _number(0.001, 1e5, float),
    "short?": str,
    "hop_s?": (None, _number(0.001, 1e5, float)),
    "min_s?": _number(0, 1e5, float),
}
_MODEL = {
    "features?": dict.fromkeys(("floor?", "shift?", "scale?"), float) | {"preemphasis?": (None, float)},
    "encoder?": {"batchnorm_momentum?": float, "batchnorm_eps?": float, "embed_stride?": _COUNT},
    "projection?": (None, dict),
    "window?": (None, _WINDOW),
}
_ORIGIN = {
    "model?": {**_MODEL, "audio?": (None, _MODEL)},
    "starts?": [{"date?": str}],
    "corpora?": [{"name": str}],
    "latent?": {"order?": [int], "kept?": [int], "n_dims?": _COUNT},
}
_COMMON = {
    "format": int,
    "card?": {
        **dict.fromkeys(("summary?", "license?"), str),
        **dict.fromkeys(("limits?", "datasets?"), [str]),
        "licences?": [_pair],
        "base_model?": (str, [str]),
    },
    "probe?": {"file": _file_name, "sha256": str, "classes?": _texts},
    "text_side?": {"kind?": str, "labels?": (None, str, [str]), "prior?": (None, [float])},
}
SAVED = {**_ORIGIN, **_COMMON, "model": {"type": str, **_ORIGIN["model?"]}, "weights_sha256": str}
EXPORTED = {
    **_COMMON,
    "kind": {"audio_encoder", "tagger", "captioner"},
    "files": {"*": str},
    "provenance": _ORIGIN,
    "sample_rate_hz": _number(1000, 1_000_000),
    "embed_dim": _COUNT,
    "window": _WINDOW,
    "resampler": {"sinc", "soxr"},
    "graphs": {"fp32": str, "*": str},
    "best_precision": {"*": {"fp32", "int8"}},
    "calibration?": {"temperature": _number(1e-6, 1e6, float)},
    "background?": str,
    "compact?": bool,
    "cost?": {"n_parameters": {"*": int}, "clip_s": float, "n_macs": int},
}
AUDIO = {
    **EXPORTED,
    "outputs": {"embedding": {"normalise": bool}, "*": {"normalise": bool}},
    "score": {"cosine", "dot", "sqrt_dot"},
    "latent?": {"order": [int]},
}
CAPTIONER = {
    **EXPORTED,
    "graphs": {"fp32": str, "memory": str, "step": str, "*": str},
    "has_words": bool,
    "frames": {"n_dropped": _number(0, 1), "hop_length": _COUNT, "mel_frames_each": (None, _COUNT)},
    "decoding": {"beam": _number(1, 1000), "max_words": _COUNT},
    "decoder": {
        **dict.fromkeys(("n_words", "n_layers", "n_heads", "width", "max_positions"), _COUNT),
        **dict.fromkeys(("start_id", "end_id", "pad_id"), _number(0, 1 << 30)),
    },
}
TEXT = {
    "kind": {"embedding", "tag_space"},
    "graph": str,
    "tokenizer": {"wordpiece", "words", "hashed words"},
    "max_tokens": _number(2, 1 << 20),
    "templates": _templates,
    "identity": {"name": str, "sha256": str},
    "kept?": [_number(0, 1 << 30)],
}
TEXT_MORE = {  # by kind, and by tokenizer
    "embedding": {},
    "tag_space": {"tag_space": str, "temperature": _number(1e-6, 1e6, float), "prior_floor": _number(0, 1, float)},
    "wordpiece": {"vocabulary": str},
    "words": {"vocabulary": str},
    "hashed words": {"n_buckets": _COUNT},
}


def config_problem(config):
    """What is wrong with the ``config.json`` of an exported folder or saved model: a sentence, or None."""
    if "model" in config and "graphs" not in config:
        return problem(config, SAVED, "")
    found = problem(config, EXPORTED, "") or problem(config, CAPTIONER if config["kind"] == "captioner" else AUDIO, "")
    if found:
        return found
    outside = next((name for name in config["files"] if not is_inside(name)), None)
    if outside is not None:
        return f"files names {outside!r}, which is outside the folder"
    order = config.get("latent", {}).get("order")
    if order is not None and sorted(order) != list(range(config["embed_dim"])):
        return f"latent.order is no order of its {config['embed_dim']} dimensions"
    if "text" not in config:
        return None
    text = config["text"]
    return problem(text, TEXT, "text") or problem(text, TEXT_MORE[text["kind"]] | TEXT_MORE[text["tokenizer"]], "text")

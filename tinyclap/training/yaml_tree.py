"""Trees of HyperPyYAML files, read and compared without building their objects."""

import itertools
import json
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, TaggedScalar
from ruamel.yaml.error import YAMLError

from tinyclap.errors import ConfigError

INCLUDE = "!include:"
_SCALARS = (str, int, float, type(None))


def head_comment(path):
    """The comment at the beginning of a YAML file, without its signs."""
    lines = itertools.takewhile(lambda line: line.startswith("#"), Path(path).read_text(encoding="utf-8").splitlines())
    return "\n".join(re.sub("^# ?", "", line) for line in lines).strip()


def text_of(value):
    """A value as YAML has it in one line."""
    if value is None:
        return "null"
    return value if isinstance(value, str) else json.dumps(value) if isinstance(value, (list, dict)) else str(value)


def read_tree(path):
    """A YAML file's tree, its tags left alone."""
    path = Path(path)
    if not path.is_file():
        near = sorted(str(other) for other in path.parent.glob("*.yaml"))
        raise ConfigError(f"no recipe {path}" + (f"; there are: {', '.join(near)}" if near else ""))
    try:
        tree = YAML(typ="rt").load(path.read_text(encoding="utf-8"))
    except (ValueError, LookupError, YAMLError) as error:
        raise ConfigError(f"{path}: no recipe in YAML ({' '.join(str(error).split())})") from error
    if not tree or not isinstance(tree, CommentedMap):
        raise ConfigError(f"{path}: no recipe: it holds no keys")
    return tree


def check_includes(path, tree):
    """Raise ConfigError where an include, anywhere in `tree`, gives its part a key that the part does not have."""
    for node in _nodes(tree):
        if not include_of(node):
            continue
        part_path = Path(path).parent / include_of(node)
        if not part_path.is_file():
            raise ConfigError(f"{path} includes {include_of(node)}: no such file")
        part = read_tree(part_path)
        for key in node if isinstance(node, Mapping) else ():
            if key not in part:
                words = f"the key {key}, which it does not have{did_you_mean([key], part)}"
                raise ConfigError(f"{path} gives {include_of(node)} {words} It has: {', '.join(part)}")
        check_includes(part_path, part)


def did_you_mean(names, known):
    """The end of a sentence that refuses `names`: which of the `known` ones they resemble."""
    near = dict.fromkeys(each for name in names for each in get_close_matches(str(name), [str(each) for each in known]))
    return f"; did you mean {' or '.join(near)}?" if near else "."


def _inner(node):
    """The nodes right below a node."""
    return node.values() if isinstance(node, Mapping) else node if isinstance(node, list) else ()


def _nodes(node):
    yield node
    for inner in _inner(node):
        yield from _nodes(inner)


def tag_of(node):
    """A node's tag, as ``!new:package.Class``, or an empty text."""
    tag = getattr(node, "tag", None)
    return (tag.value or "") if tag is not None else ""


def include_of(node):
    """The file that a node includes, or an empty text."""
    return tag_of(node).removeprefix(INCLUDE) if tag_of(node).startswith(INCLUDE) else ""


def _followed(node, tree):
    """What a chain of plain references, ``!ref <key>``, ends at."""
    for _ in tree:  # no longer, should it go round
        reference = re.fullmatch(r"<(\w+)>", node.value) if tag_of(node) == "!ref" else None
        if not reference:
            break
        node = tree.get(reference[1])
    return node


def is_value(node, tree):
    """Whether a node is a plain value: no object, no reference to one, no collection of them."""
    node = _followed(node, tree)
    if tag_of(node) == "!ref":
        return not re.search(r"<[^>]*[\[.]", node.value)
    if tag_of(node):
        return tag_of(node) == "!PLACEHOLDER"
    return all(not tag_of(each) and is_value(each, tree) for each in _inner(node))


def default_of(node, tree):
    """The value of a node, as far as it can be told without building anything; None where it cannot."""
    node = _followed(node, tree)
    if not isinstance(node, TaggedScalar):
        return node
    is_text = tag_of(node) == "!ref" and re.search(r"[/\w]", re.sub(r"<[^>]*>|[\d.]+", "", node.value))
    return node.value if is_text else None


def comments_of(path):
    """Comments at the ends of a file's top-level keys; a key without one has that of the file one folder up."""
    pattern = re.compile(r"^(\w+):(?:[^#\n]|(?<=\S)#)*?\s#\s*(.*)$", re.M)
    twin = path.parent.parent / path.name
    found = comments_of(twin) if twin.is_file() and path.parent.name in ("demo", "reference") else {}
    return {**found, **dict(pattern.findall(path.read_text(encoding="utf-8")))}


def merge(name, old, new):
    """Put the mapping `new`, given as option `name`, into the mapping `old`, whose keys are all there are."""
    known = list(old)
    for key, value in new.items():
        if known and key not in known:
            has = f"Its keys are: {', '.join(map(str, known))}"
            raise ConfigError(f"--{name} has no key {key}{did_you_mean([key], known)} {has}")
        if isinstance(value, Mapping) and isinstance(old.get(key), Mapping):
            merge(f"{name}.{key}", old[key], value)
        else:
            old[key] = value


def flat(place, node):
    """Yield (place, value) of all scalars and plain lists of a tree, and (place!, tag) of its objects."""
    if isinstance(node, list) and not tag_of(node) and all(isinstance(each, _SCALARS) for each in node):
        yield place, list(node)
    elif isinstance(node, (list, Mapping)):
        if tag_of(node):
            yield f"{place}!", tag_of(node)
        pairs = node.items() if isinstance(node, Mapping) else enumerate(node)
        for key, value in pairs:
            yield from flat(f"{place}.{key}" if place else str(key), value)
    elif tag_of(node):
        yield f"{place}!", tag_of(node)
    else:
        yield place, node

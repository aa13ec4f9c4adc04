"""A recipe: a HyperPyYAML file, its parts (``!include:``), and options that are put into its tree."""

import io
import json
import re
import traceback
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from hyperpyyaml import load_hyperpyyaml, resolve_references
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, TaggedScalar
from ruamel.yaml.error import YAMLError
from ruamel.yaml.tag import Tag
from speechbrain.utils.run_opts import RunOptions

from tinyclap.config.own_modules import import_modules
from tinyclap.errors import ConfigError, TinyclapError
from tinyclap.training.values import check_path, check_value, read_value

_INCLUDE = "!include:"
_STRUCTURE = ("prepare", "modules", "load_weights")  # empty lists of objects look like values
_NAMES_A_CORPUS = re.compile(r"(?!output_|manifest_|save_).*_folder|corpora|weights")


class Key(NamedTuple):
    """A key of a recipe or of one of its parts: where it is set, its default (None where unknown) and its comment."""

    where: CommentedMap
    key: str
    node: Any
    default: Any
    comment: str
    part: str | None


class Part(NamedTuple):
    """A part of a recipe: the include's mapping in the recipe, the part's file and tree."""

    node: CommentedMap
    path: Path
    tree: CommentedMap


class Recipe:
    """A recipe with the options of a command line put into its YAML tree; nothing is built yet.

    ``--KEY`` sets a key of the recipe, or else of the one part that has it; ``--PART.KEY`` sets a key of a part;
    ``--PART NAME`` takes another file as that part. All values are checked.

    Arguments
    ---------
    path : str or os.PathLike
    options : dict, optional
        Name of an option → its value, or text to read as YAML, as typed on a command line.
    is_complete : bool
        False: values that must be given (``!PLACEHOLDER``) may be missing, as in a help.

    Raises
    ------
    ConfigError
        The file is no recipe, an option is unknown, a value cannot be meant, or one is missing.
    """

    def __init__(self, path, options=None, is_complete=True):
        self.path, self.options = Path(path), dict(options or {})
        self.tree = _read_tree(self.path)
        _check_includes(self.path, self.tree)
        self.parts = {key: self._part(key) for key in self.tree if _include_of(self.tree[key])}
        for key in [key for key in self.options if key in self.parts]:
            self._choose_part(key, self.options[key])
        keys = self.keys()
        self._refuse_unknown(keys)
        given = {name: self._find(name, keys) for name in self.options if name not in self.parts}
        for name, key in given.items():
            value = check_value(name, read_value(name, self.options[name], key.default), key.default, key.comment)
            check_path(name, value)
            _set(name, key, value)
        keys = self.keys()
        for name, key in keys.items():
            self._check_own_value(name, key)
        missing = [f"--{name} …" for name, key in keys.items() if _tag(key.node) == "!PLACEHOLDER"]
        if missing and is_complete:
            raise ConfigError(f"{self.path} needs {', '.join(missing)}; see its head")

    # Keys and parts ---------------------------------------------------------------------------------------------------

    def _part(self, key):
        node = self.tree[key]
        if not isinstance(node, CommentedMap):  # an include without keys
            tag, node = node.tag.value, CommentedMap()
            node.yaml_set_ctag(Tag(suffix=tag))
            self.tree[key] = node
        path = self.path.parent / _include_of(node)
        return Part(node, path, _read_tree(path))

    def _choose_part(self, key, value):
        """Take another file as part `key`; keys that the recipe gives the old part and the new one lacks are left."""
        node, old, _ = self.parts[key]
        prefix = old.stem.partition("_")[0]
        name = str(value)
        path = Path(name) if name.endswith((".yaml", ".yml")) else old.with_name(f"{prefix}_{name}.yaml")
        if not path.is_file():
            known = sorted(other.stem.removeprefix(f"{prefix}_") for other in old.parent.glob(f"{prefix}_*.yaml"))
            raise ConfigError(f"--{key} {name}: no such part; choose one of {', '.join(known)}, or give a .yaml file")
        is_beside = path.parent == old.parent
        place = str(Path(_include_of(node)).with_name(path.name)) if is_beside else str(path.resolve())
        tree = _read_tree(path)
        _check_includes(path, tree)
        for given in [given for given in node if given not in tree]:
            del node[given]
        node.yaml_set_ctag(Tag(suffix=f"{_INCLUDE}{place}"))
        self.parts[key] = Part(node, path, tree)

    def keys(self):
        """Keys that hold values (no objects), in the file's order: name → :class:`Key`; a part's: ``part.key``."""
        found = {}
        comments = _comments(self.path)
        for key, node in self.tree.items():
            if key in self.parts or key.startswith("__"):
                continue
            found[key] = Key(self.tree, key, node, _default(node, self.tree), comments.get(key, ""), None)
        for name, part in self.parts.items():
            comments = _comments(part.path)
            for key, own in part.tree.items():
                node = part.node.get(key, own)
                default = _default(node, self.tree if key in part.node else part.tree)
                found[f"{name}.{key}"] = Key(part.node, key, node, default, comments.get(key, ""), name)
        return found

    def _find(self, name, keys):
        """The key that an option sets."""
        if name in keys:
            return keys[name]
        having = [full for full in keys if full.endswith(f".{name}") and "." not in name]
        if len(having) > 1:
            raise ConfigError(
                f"--{name}: more than one part has it; write {' or '.join(f'--{each}' for each in having)}"
            )
        if having:
            return keys[having[0]]
        root, *inner = name.split(".")
        where = self.tree.get(root)
        for key in inner[:-1]:
            where = where.get(key) if isinstance(where, Mapping) else None
        if inner and isinstance(where, Mapping) and inner[-1] in where:
            node = where[inner[-1]]
            return Key(where, inner[-1], node, _default(node, self.tree), "", None)
        return None

    def _refuse_unknown(self, keys):
        names = [name for name in self.options if name not in self.parts]
        unknown = [name for name in names if self._find(name, keys) is None]
        if not unknown:
            return
        shown = {name: key for name, key in keys.items() if _is_value(key.node) and key.key not in _STRUCTURE}
        top = [name for name, key in shown.items() if key.part is None]
        short = [key.key for key in shown.values() if key.part]
        known = [*top, *self.parts, *short, *shown, *RunOptions().as_dict()]
        near = dict.fromkeys(f"--{near}" for name in unknown for near in get_close_matches(name, known))
        lists = [f"Its keys are: {', '.join([*top, *self.parts])}"]
        for part in self.parts:
            lists.append(f"of {part}: {', '.join(key.key for key in shown.values() if key.part == part)}")
        raise ConfigError(
            f"{self.path} has no key {', '.join(f'--{name}' for name in unknown)}"
            + (f"; did you mean {' or '.join(near)}?" if near else ".")
            + f" {'; '.join(lists)}"
        )

    def _check_own_value(self, name, key):
        """Check a value that stands in the recipe or a part, as far as its name tells what it should be."""
        if _is_value(key.node) and not isinstance(key.node, (TaggedScalar, Mapping, type(None))):
            try:
                check_value(name, key.node, key.default, key.comment)
            except ConfigError as error:
                raise ConfigError(f"{self.path}: {error}") from error

    # Objects ----------------------------------------------------------------------------------------------------------

    def build(self):
        """Build the recipe's objects: a dict by key."""
        import_modules((), self.path.parent)  # finds modules of the user's
        try:
            return load_hyperpyyaml(self._stream())
        except (TinyclapError, KeyboardInterrupt):
            raise
        except Exception as error:
            raise ConfigError(f"{self.path}: {_cause(error)}") from error

    def resolved(self):
        """The recipe as one YAML text without includes and references."""
        return resolve_references(self._stream()).getvalue()

    def settings(self, **values):
        """All that the run depends on, flat: place in the resolved YAML → value or tag; `values` replace top keys."""
        before = {key: self.tree[key] for key in values if key in self.tree}
        self.tree.update({key: value for key, value in values.items() if key in before})
        try:
            tree = YAML(typ="rt").load(resolve_references(self._stream()))
        finally:
            self.tree.update(before)
        return json.loads(json.dumps(dict(_flat("", tree)), default=str))

    def _stream(self):
        """The tree as HyperPyYAML reads it: a stream with the recipe's name, to which its includes are relative."""
        stream = io.StringIO()
        yaml = YAML(typ="rt")
        yaml.width = 10_000
        yaml.dump(self.tree, stream)
        stream.seek(0)
        stream.name = str(self.path)
        return stream

    # Help -------------------------------------------------------------------------------------------------------------

    def help(self):
        """The recipe's head, its keys with values and comments, and those of its parts."""
        keys = {name: key for name, key in self.keys().items() if _is_value(key.node) and key.key not in _STRUCTURE}
        lines = [str(self.path), "", head_comment(self.path), "", "Keys (--KEY VALUE):"]
        lines += [_help_line(key) for key in keys.values() if key.part is None]
        for part, (_, path, _) in self.parts.items():
            prefix = path.stem.partition("_")[0]
            others = sorted(other.stem.removeprefix(f"{prefix}_") for other in path.parent.glob(f"{prefix}_*.yaml"))
            lines += ["", f"Part {part}: {path} (--{part} {' | '.join(others)}, or a file of yours)"]
            own = [key for key in keys.values() if key.part == part]
            lines += [_help_line(key) for key in own if not isinstance(key.where.get(key.key), TaggedScalar)]
        return "\n".join(lines)


def demonstration(path, options):
    """The built-in demonstration of a recipe, where neither data nor a teacher are named, else None.

    It is the file of the same name in ``demo/`` beside the recipe.
    """
    path = Path(path)
    demo = path.parent / "demo" / path.name
    if not demo.is_file() or not path.is_file():
        return None
    given = [name.rpartition(".")[2] for name, value in options.items() if str(value) not in ("null", "None", "~", "")]
    tree = _read_tree(path)
    maps = [tree, *(node for node in tree.values() if _include_of(node) and isinstance(node, Mapping))]
    written = [key for each in maps for key, value in each.items() if isinstance(value, str)]
    if any(_NAMES_A_CORPUS.fullmatch(key) for key in written):
        return None
    return None if any(_NAMES_A_CORPUS.fullmatch(key) or key.startswith("teacher") for key in given) else demo


def data_options(path):
    """Names of a recipe's options that name a corpus."""
    recipe = Recipe(path, is_complete=False)
    names = dict.fromkeys(name.rpartition(".")[2] for name, key in recipe.keys().items() if _is_value(key.node))
    return [name for name in names if _NAMES_A_CORPUS.fullmatch(name) and name != "soundscapes_folder"]


def load_hparams(path, options=None):
    """The objects of a recipe: a dict by key; see :class:`Recipe`."""
    return Recipe(path, options).build()


def head_comment(path):
    """The comment at the beginning of a YAML file, without its signs."""
    lines = []
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(re.sub("^# ?", "", line))
    return "\n".join(lines).strip()


def text_of(value):
    """A value as YAML has it in one line."""
    if value is None:
        return "null"
    return value if isinstance(value, str) else json.dumps(value) if isinstance(value, (list, dict)) else str(value)


def _help_line(key):
    node = key.node
    value = "(needed)" if _tag(node) == "!PLACEHOLDER" else text_of(node.value if _tag(node) else node)
    return f"  {f'--{key.key} {value}':40}  {key.comment}".rstrip()


def _read_tree(path):
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


def _check_includes(path, tree):
    """Raise ConfigError where an include, anywhere in `tree`, gives its part a key that the part does not have."""
    for node in _nodes(tree):
        if not _include_of(node):
            continue
        part_path = Path(path).parent / _include_of(node)
        if not part_path.is_file():
            raise ConfigError(f"{path} includes {_include_of(node)}: no such file")
        part = _read_tree(part_path)
        for key in node if isinstance(node, Mapping) else ():
            if key not in part:
                near = get_close_matches(key, part)
                advice = f"; did you mean {' or '.join(near)}?" if near else f"; it has: {', '.join(part)}"
                raise ConfigError(f"{path} gives {_include_of(node)} the key {key}, which it does not have{advice}")
        _check_includes(part_path, part)


def _nodes(node):
    yield node
    if isinstance(node, (list, Mapping)):
        for inner in node.values() if isinstance(node, Mapping) else node:
            yield from _nodes(inner)


def _tag(node):
    tag = getattr(node, "tag", None)
    return (tag.value or "") if tag is not None else ""


def _include_of(node):
    """The file that a node includes, or an empty text."""
    return _tag(node).removeprefix(_INCLUDE) if _tag(node).startswith(_INCLUDE) else ""


def _is_value(node):
    """Whether a node is a plain value: no object, no reference to one, no collection of them."""
    if isinstance(node, TaggedScalar):
        return _tag(node) == "!PLACEHOLDER" or (_tag(node) == "!ref" and not re.search(r"<[^>]*[\[.]", node.value))
    if _tag(node):
        return False
    inner = node.values() if isinstance(node, Mapping) else node if isinstance(node, list) else ()
    return all(not _tag(each) and _is_value(each) for each in inner)


def _default(node, tree, depth=0):
    """The value of a node, as far as it can be told without building anything; None where it cannot."""
    if not isinstance(node, TaggedScalar):
        return node
    if _tag(node) != "!ref" or depth > 9:
        return None
    reference = re.fullmatch(r"<(\w+)>", node.value)
    if reference:
        return _default(tree.get(reference[1]), tree, depth + 1)
    return node.value if re.search(r"[/\w]", re.sub(r"<[^>]*>|[\d.]+", "", node.value)) else None


def _comments(path):
    """Comments at the ends of a file's top-level keys; a key without one has that of the file one folder up."""
    pattern = re.compile(r"^(\w+):(?:[^#\n]|(?<=\S)#)*?\s#\s*(.*)$", re.M)
    twin = path.parent.parent / path.name
    found = _comments(twin) if twin.is_file() and path.parent.name in ("demo", "reference") else {}
    return {**found, **dict(pattern.findall(path.read_text(encoding="utf-8")))}


def _set(name, key, value):
    """Put a value into the tree; a mapping joins a mapping, key by key."""
    if isinstance(value, Mapping) and isinstance(key.node, Mapping):
        _check_names(name, value, key.node)
    elif value is not None and _tag(key.node) and not isinstance(key.node, TaggedScalar):
        raise ConfigError(
            f"--{name}: an object ({_tag(key.node)}) cannot be given as an option; edit a copy of the YAML"
        )
    if isinstance(value, Mapping) and isinstance(key.where.get(key.key), Mapping):
        _merge(key.where[key.key], value)
    else:
        key.where[key.key] = value


def _check_names(name, new, old):
    for key, value in new.items():
        if key not in old:
            near = get_close_matches(str(key), [str(each) for each in old])
            advice = f"; did you mean {' or '.join(near)}?" if near else ""
            raise ConfigError(f"--{name} has no key {key}{advice} Its keys are: {', '.join(map(str, old))}")
        if isinstance(value, Mapping) and isinstance(old[key], Mapping):
            _check_names(f"{name}.{key}", value, old[key])


def _merge(old, new):
    for key, value in new.items():
        if isinstance(value, Mapping) and isinstance(old[key], Mapping):
            _merge(old[key], value)
        else:
            old[key] = value


def _flat(place, node):
    """Yield (place, value) of all scalars of a tree, and (place!, tag) of its objects."""
    if isinstance(node, (list, Mapping)):
        if _tag(node):
            yield f"{place}!", _tag(node)
        pairs = node.items() if isinstance(node, Mapping) else enumerate(node)
        for key, value in pairs:
            yield from _flat(f"{place}.{key}" if place else str(key), value)
    elif _tag(node):
        yield f"{place}!", _tag(node)
    else:
        yield place, node


def _cause(error):
    """An error of building the objects in one line: what was built, what went wrong, and where in whose code."""
    words = error.args if all(isinstance(word, str) for word in error.args) else [error]
    text = " ".join(" ".join(map(str, words)).split()) or type(error).__name__
    missing = re.search(r"There is no such \w+ as ([\w.]+)", text)
    if missing and isinstance(error, ImportError):
        return (
            f"{missing[1]} cannot be imported: there is no such name; a module of your own lies beside the recipe or "
            "in the current folder"
        )
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"cannot be built: {type(error).__name__}: {text} ({Path(frame.filename).name}, line {frame.lineno})"

"""A recipe: a HyperPyYAML file, its parts (``!include:``), and options that are put into its tree."""

import io
import json
import os
import pydoc
import re
import traceback
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from hyperpyyaml import load_hyperpyyaml, resolve_references
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, TaggedScalar
from ruamel.yaml.tag import Tag
from speechbrain.utils.run_opts import RunOptions

from tinyclap.config.own_modules import import_modules
from tinyclap.errors import ConfigError, TinyclapError
from tinyclap.training.values import check_place, check_value, read_value
from tinyclap.training.yaml_tree import (
    INCLUDE,
    check_includes,
    comments_of,
    default_of,
    flat,
    head_comment,
    include_of,
    is_value,
    merge,
    read_tree,
    tag_of,
    text_of,
)

_LIBRARIES = re.compile(r"[/\\]lib[/\\]python|site-packages|<frozen")
_STRUCTURE = ("prepare", "modules", "load_weights")  # empty lists of objects look like values
_NAMES_A_CORPUS = re.compile(r"(?!output_|manifest_|save_).*_folder|corpora|weights")


class Key(NamedTuple):
    """A key of a recipe or of one of its parts.

    It is set in the mapping `where`; `default` is None where it is unknown; `is_option` is False for objects.
    """

    where: CommentedMap
    key: str
    node: Any
    default: Any
    comment: str
    part: str | None
    is_option: bool


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
        self.tree = read_tree(self.path)
        check_includes(self.path, self.tree)
        self.parts = {key: self._part(key) for key in self.tree if include_of(self.tree[key])}
        for key in [key for key in self.options if key in self.parts]:
            self._choose_part(key, self.options[key])
        keys = self.keys()
        self._refuse_unknown(keys)
        given = {name: self._find(name, keys) for name in self.options if name not in self.parts}
        cache = Path(str(self.options.get("target_cache"))) / "targets.json"
        for name, key in given.items():
            value = check_value(name, read_value(name, self.options[name], key.default), key.default, key.comment)
            if key.key != "teacher_weights" or not cache.is_file():  # a whole cache needs no weights; it tells
                check_place(name, value)
            _set(name, key, value)
        keys = self.keys()
        for name, key in keys.items():
            self._check_own_value(name, key)
        missing = [f"--{name} …" for name, key in keys.items() if tag_of(key.node) == "!PLACEHOLDER"]
        if missing and is_complete:
            raise ConfigError(f"{self.path} needs {', '.join(missing)}; see its head")

    # Keys and parts ---------------------------------------------------------------------------------------------------

    def _part(self, key):
        node = self.tree[key]
        if not isinstance(node, CommentedMap):  # an include without keys
            tag, node = node.tag.value, CommentedMap()
            node.yaml_set_ctag(Tag(suffix=tag))
            self.tree[key] = node
        path = Path(os.path.normpath(self.path.parent / include_of(node)))
        return Part(node, path, read_tree(path))

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
        place = str(Path(include_of(node)).with_name(path.name)) if is_beside else str(path.resolve())
        tree = read_tree(path)
        check_includes(path, tree)
        for given in [given for given in node if given not in tree]:
            del node[given]
        node.yaml_set_ctag(Tag(suffix=f"{INCLUDE}{place}"))
        self.parts[key] = Part(node, path, tree)

    def keys(self):
        """All keys but the parts, in the files' order: name → :class:`Key`; a part's: ``part.key``."""
        found = {}
        comments = comments_of(self.path)
        for key, node in self.tree.items():
            if key not in self.parts and not key.startswith("__"):
                found[key] = _key(self.tree, key, node, self.tree, comments)
        for name, part in self.parts.items():
            comments = comments_of(part.path)
            for key, own in part.tree.items():
                node, tree = (part.node[key], self.tree) if key in part.node else (own, part.tree)
                found[f"{name}.{key}"] = _key(part.node, key, node, tree, comments, name)
        return found

    def options_of(self, part=None):
        """The keys of the recipe, or of a `part`, that can be given as options: list of :class:`Key`."""
        return [key for key in self.keys().values() if key.part == part and key.is_option]

    def _find(self, name, keys):
        """The key that an option sets."""
        having = [full for full, key in keys.items() if key.part and key.key == name and key.is_option]
        if name in keys and (keys[name].is_option or not having):
            return keys[name]
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
            return _key(where, inner[-1], node, self.tree, {})
        return None

    def _refuse_unknown(self, keys):
        names = [name for name in self.options if name not in self.parts]
        unknown = [name for name in names if self._find(name, keys) is None]
        if not unknown:
            return
        full = [name for name, key in keys.items() if key.is_option]
        short = [*(keys[name].key for name in full), *self.parts, *RunOptions().as_dict()]
        near = [get_close_matches(name, full if "." in name else dict.fromkeys(short)) for name in unknown]
        near = dict.fromkeys(f"--{name}" for names in near for name in names)
        lists = [f"Its keys are: {', '.join([*(key.key for key in self.options_of()), *self.parts])}"]
        lists += [f"of {part}: {', '.join(key.key for key in self.options_of(part))}" for part in self.parts]
        raise ConfigError(
            f"{self.path} has no key {', '.join(f'--{name}' for name in unknown)}"
            + (f"; did you mean {' or '.join(near)}?" if near else ".")
            + f" {'; '.join(lists)}"
        )

    def _check_own_value(self, name, key):
        """Check a value that stands in the recipe or a part, as far as its name tells what it should be."""
        if key.is_option and not isinstance(key.node, (TaggedScalar, Mapping, type(None))):
            try:
                check_value(name, key.node, key.default, key.comment)
            except ConfigError as error:
                raise ConfigError(f"{self.path}: {error}") from error

    # Objects ----------------------------------------------------------------------------------------------------------

    def build(self):
        """Build the recipe's objects: a dict by key."""
        import_modules((), self.path.parent, *(part.path.parent for part in self.parts.values()))  # finds the user's
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
        return json.loads(json.dumps(dict(flat("", tree)), default=str))

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
        lines = [str(self.path), "", head_comment(self.path), "", "Keys (--KEY VALUE):"]
        lines += map(_help_line, self.options_of())
        for part, (_, path, _) in self.parts.items():
            prefix = path.stem.partition("_")[0]
            others = sorted(other.stem.removeprefix(f"{prefix}_") for other in path.parent.glob(f"{prefix}_*.yaml"))
            lines += ["", f"Part {part}: {path} (--{part} {' | '.join(others)}, or a file of yours)"]
            own = [key for key in self.options_of(part) if not isinstance(key.where.get(key.key), TaggedScalar)]
            lines += map(_help_line, own)  # what the recipe passes on stands among its own keys
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
    tree = read_tree(path)
    maps = [tree, *(node for node in tree.values() if include_of(node) and isinstance(node, Mapping))]
    written = [key for each in maps for key, value in each.items() if isinstance(value, str)]
    if any(_NAMES_A_CORPUS.fullmatch(key) for key in written):
        return None
    parts = [key for key, node in tree.items() if include_of(node)]
    named = [key for key in given if _NAMES_A_CORPUS.fullmatch(key) or key.startswith("teacher")]
    named += [key for key in options if key in parts and Path(include_of(tree[key])).stem.startswith("corpora")]
    return None if named else demo


def data_options(path):
    """Names of a recipe's options that name a corpus."""
    names = dict.fromkeys(key.key for key in Recipe(path, is_complete=False).keys().values() if key.is_option)
    return [name for name in names if _NAMES_A_CORPUS.fullmatch(name) and name != "soundscapes_folder"]


def load_hparams(path, options=None):
    """The objects of a recipe: a dict by key; see :class:`Recipe`."""
    return Recipe(path, options).build()


def _help_line(key):
    node = key.node
    value = "(needed)" if tag_of(node) == "!PLACEHOLDER" else text_of(node.value if tag_of(node) else node)
    return f"  {f'--{key.key} {value}':40}  {key.comment}".rstrip()


def _key(where, key, node, tree, comments, part=None):
    is_option = is_value(node, tree) and key not in _STRUCTURE
    return Key(where, key, node, default_of(node, tree), comments.get(key, ""), part, is_option)


def _set(name, key, value):
    """Put a value into the tree; a mapping joins a mapping, key by key."""
    where, node = key.where, key.node
    if isinstance(value, Mapping) and isinstance(node, Mapping):
        if node is not where.get(key.key):  # the part's own, which HyperPyYAML joins with what the recipe gives
            where[key.key] = {}
            merge(name, dict(node), value)
        merge(name, where[key.key], value)
    elif value is not None and not key.is_option:
        source = (
            f"follows from {node.value}" if isinstance(node, TaggedScalar) else f"holds {tag_of(node) or 'objects'}"
        )
        raise ConfigError(f"--{name}: no option, for it {source}; edit a copy of the YAML")
    elif value is not None or tag_of(node) != "!PLACEHOLDER":
        where[key.key] = value


def _cause(error):
    """An error of building the objects in one line: what was built, what went wrong, and where in whose code."""
    if isinstance(error, pydoc.ErrorDuringImport):  # a module of the user's, or one that it needs
        error = error.value
    words = error.args if all(isinstance(word, str) for word in error.args) else [error]
    text = " ".join(" ".join(map(str, words)).split()) or type(error).__name__
    missing = re.search(r"There is no such \w+ as ([\w.]+)", text)
    if missing and isinstance(error, ImportError):
        return (
            f"{missing[1]} cannot be imported: there is no such name; a module of your own lies beside the recipe or "
            "in the current folder"
        )
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _LIBRARIES.search(frame.filename)]
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if len(frames) > 1 else ""
    return f"cannot be built: {type(error).__name__}: {text}{place}"

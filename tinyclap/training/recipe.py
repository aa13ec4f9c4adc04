"""A recipe: a HyperPyYAML file, its parts (``!include:``), and options that are put into its tree."""

import copy
import io
import json
import os
import pydoc
import re
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from hyperpyyaml import load_hyperpyyaml, resolve_references
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq, TaggedScalar
from ruamel.yaml.tag import Tag
from speechbrain.utils.run_opts import RunOptions

from tinyclap.config.own_modules import import_modules
from tinyclap.errors import ConfigError, TinyclapError
from tinyclap.training import yaml_tree
from tinyclap.training.values import check_place, check_value, read_value
from tinyclap.training.yaml_tree import did_you_mean, include_of, read_tree, tag_of

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

    def prefix(self):
        """What the names of the files begin with that can be this part: ``student_``."""
        return self.path.stem.partition("_")[0] + "_"

    def names(self):
        """Names of the parts of this kind."""
        return sorted(path.stem.removeprefix(self.prefix()) for path in self.path.parent.glob(f"{self.prefix()}*.yaml"))


class Recipe:
    """A recipe with the options of a command line put into its YAML tree; nothing is built yet.

    ``--KEY`` sets a key of the recipe, or else of the one part that has it; ``--PART.KEY`` sets a key of a part;
    ``--PART NAME`` takes another file as that part. All values are checked.

    Arguments
    ---------
    path : str or os.PathLike
    options : dict, optional. Name of an option → its value, or text to read as YAML, as typed on a command line.
    is_complete : bool. False: values that must be given (``!PLACEHOLDER``) may be missing, as in a help; they are null.

    Raises
    ------
    ConfigError: The file is no recipe, an option is unknown, a value cannot be meant, or one is missing.
    """

    def __init__(self, path, options=None, is_complete=True):
        self.path, self.options = Path(path), dict(options or {})
        self.tree = read_tree(self.path)
        yaml_tree.check_includes(self.path, self.tree)
        self.parts = {key: self._part(key) for key in self.tree if include_of(self.tree[key])}
        for key in [key for key in self.options if key in self.parts]:
            self._choose_part(key, str(self.options[key]))
        keys = self.keys()
        given = {name: self._find(name, keys) for name in self.options if name not in self.parts}
        if None in given.values():
            self._refuse([name for name, key in given.items() if key is None], keys)
        cache = Path(str(self.options.get("target_cache"))) / "targets.json"
        for name, key in given.items():
            value = check_value(name, read_value(name, self.options[name], key.default), key.default, key.comment)
            if key.key != "teacher_weights" or not cache.is_file():  # a whole cache needs no weights; it tells
                check_place(name, value, key.default)
            _set(name, key, value)
        for name, key in self.keys().items():
            self._check_own_value(name, key)
        if is_complete:
            self.check_complete()

    def check_complete(self):
        """Raise ConfigError where a value is missing that must be given."""
        missing = [f"--{name} …" for name, key in self.keys().items() if tag_of(key.node) == "!PLACEHOLDER"]
        if missing:
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

    def _choose_part(self, key, name):
        """Take another file as part `key`.

        Of what the recipe gives the old part, references (``!ref``) go on to the new one where it has the key; plain
        values were meant for the old one.
        """
        old = self.parts[key]
        is_file = name.endswith((".yaml", ".yml"))
        path = Path(name) if is_file else old.path.with_name(f"{old.prefix()}{name}.yaml")
        if not path.is_file():
            raise ConfigError(
                f"--{key} {name}: no such part; choose one of {', '.join(old.names())}, or give a .yaml file"
            )
        place = str(path.resolve() if is_file else Path(include_of(old.node)).with_name(path.name))
        tree = read_tree(path)
        yaml_tree.check_includes(path, tree)
        for given, value in list(old.node.items()):
            if given not in tree or not tag_of(value):
                del old.node[given]
        old.node.yaml_set_ctag(Tag(suffix=f"{yaml_tree.INCLUDE}{place}"))
        self.parts[key] = Part(old.node, path, tree)

    def keys(self):
        """All keys but the parts, in the files' order: name → :class:`Key`; a part's: ``part.key``."""
        comments = yaml_tree.comments_of(self.path)
        own = {key: node for key, node in self.tree.items() if key not in self.parts and not key.startswith("__")}
        found = {key: _key(self.tree, key, node, self.tree, comments.get(key, "")) for key, node in own.items()}
        for name, part in self.parts.items():
            comments = yaml_tree.comments_of(part.path)
            for key, node in part.tree.items():
                node, tree = (part.node[key], self.tree) if key in part.node else (node, part.tree)
                found[f"{name}.{key}"] = _key(part.node, key, node, tree, comments.get(key, ""), name)
        return found

    def options_of(self, part=None):
        """The keys of the recipe, or of a `part`, that can be given as options: list of :class:`Key`."""
        return [key for key in self.keys().values() if key.part == part and key.is_option]

    def _find(self, name, keys):
        """The key that an option sets, or None."""
        having = [full for full, key in keys.items() if key.part and key.key == name and key.is_option]
        if name in keys and (keys[name].is_option or not having):
            return keys[name]
        if len(having) > 1:
            words = " or ".join(f"--{each}" for each in having)
            raise ConfigError(f"--{name}: more than one part has it; write {words}")
        if having:
            return keys[having[0]]
        *outer, last = name.split(".")
        where = self.tree
        for key in outer:
            where = where.get(key) if isinstance(where, Mapping) else None
        if not outer or not isinstance(where, Mapping) or last not in where:
            return None
        return _key(where, last, where[last], self.tree)

    def _refuse(self, unknown, keys):
        """Raise ConfigError for options that no key has."""
        full = [name for name, key in keys.items() if key.is_option]
        short = [*(keys[name].key for name in full), *self.parts, *RunOptions().as_dict()]
        known = full if any("." in name for name in unknown) else dict.fromkeys(short)
        near = did_you_mean([f"--{name}" for name in unknown], [f"--{name}" for name in known])
        lists = [f"Its keys are: {', '.join([*(key.key for key in self.options_of()), *self.parts])}"]
        lists += [f"of {part}: {', '.join(key.key for key in self.options_of(part))}" for part in self.parts]
        words = ", ".join(f"--{name}" for name in unknown)
        listed = "All keys: --help" if "?" in near else "; ".join(lists)
        raise ConfigError(f"{self.path} has no key {words}{near} {listed}")

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
        changed = copy.deepcopy(self)
        changed.tree.update({key: value for key, value in values.items() if key in self.tree})
        tree = YAML(typ="rt").load(changed.resolved())
        return json.loads(json.dumps(dict(yaml_tree.flat("", tree)), default=str))

    def _stream(self):
        """The tree as HyperPyYAML reads it: a stream with the recipe's name, to which its includes are relative."""
        for key in self.keys().values():
            if tag_of(key.node) == "!PLACEHOLDER":  # of an incomplete recipe
                key.where[key.key] = None
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
        lines = [str(self.path), "", yaml_tree.head_comment(self.path), "", "Keys (--KEY VALUE):"]
        lines += map(_help_line, self.options_of())
        for name, part in self.parts.items():
            lines += ["", f"Part {name}: {part.path} (--{name} {' | '.join(part.names())}, or a file of yours)"]
            own = [key for key in self.options_of(name) if not isinstance(key.where.get(key.key), TaggedScalar)]
            lines += map(_help_line, own)  # what the recipe passes on stands among its own keys
        return "\n".join(lines)

    # Demonstration ----------------------------------------------------------------------------------------------------

    def data_options(self):
        """Keys of the recipe and its parts that name a corpus: list of :class:`Key`."""
        return [key for key in self.keys().values() if key.is_option and _NAMES_A_CORPUS.fullmatch(key.key)]

    def demonstration(self):
        """The file of this name in ``demo/``, where neither options nor the recipe itself name data or a teacher."""
        demo = self.path.parent / "demo" / self.path.name
        written = [key for key in self.data_options() if key.key in key.where and isinstance(key.node, str)]
        chosen = [name for name, value in self.options.items() if read_value(name, value, None) is not None]
        teachers = [name for name in chosen if name.rpartition(".")[2].startswith("teacher")]
        corpora = [name for name in chosen if name in self.parts and self.parts[name].prefix() == "corpora_"]
        return demo if demo.is_file() and not (written or teachers or corpora) else None


def load_hparams(path, options=None):
    """The objects of a recipe: a dict by key; see :class:`Recipe`."""
    return Recipe(path, options).build()


def _help_line(key):
    is_needed = tag_of(key.node) == "!PLACEHOLDER"
    value = "(needed)" if is_needed else yaml_tree.text_of(key.node.value if tag_of(key.node) else key.node)
    return f"  {f'--{key.key} {value}':40}  {key.comment}".rstrip()


def _key(where, key, node, tree, comment="", part=None):
    is_option = yaml_tree.is_value(node, tree) and key not in _STRUCTURE
    return Key(where, key, node, yaml_tree.default_of(node, tree), comment, part, is_option)


def _set(name, key, value):
    """Put a value into the tree; a mapping joins a mapping, key by key."""
    where, node = key.where, key.node
    if isinstance(value, Mapping) and isinstance(node, Mapping):
        yaml_tree.merge(name, node, value)
        where[key.key] = node if key.key in where else value  # HyperPyYAML joins it with the part's own
        return
    if isinstance(value, Mapping) and key.part:  # HyperPyYAML cannot put a map in the place of a part's other value
        pairs = [[each, part] for each, part in value.items()]
        value = CommentedSeq([pairs])
        value.yaml_set_ctag(Tag(suffix="!new:builtins.dict"))
    if value is not None and not key.is_option:
        holds = f"follows from {node.value}" if isinstance(node, TaggedScalar) else f"holds {tag_of(node) or 'objects'}"
        raise ConfigError(f"--{name}: no option, for it {holds}; edit a copy of the YAML")
    if value is not None or tag_of(node) != "!PLACEHOLDER":
        where[key.key] = value


def _cause(error):
    """An error of building the objects in one line: what was built, what went wrong, and where in whose code."""
    if isinstance(error, pydoc.ErrorDuringImport):  # a module of the user's, or one that it needs
        error = error.value
    words = error.args if all(isinstance(word, str) for word in error.args) else [error]
    text = " ".join(" ".join(map(str, words)).split()) or type(error).__name__
    missing = re.search(r"There is no such \w+ as ([\w.]+)", text)
    if missing and isinstance(error, ImportError):
        own = "a module of your own lies beside the recipe or in the current folder"
        return f"{missing[1]} cannot be imported: there is no such name; {own}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _LIBRARIES.search(frame.filename)]
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if len(frames) > 1 else ""
    return f"cannot be built: {type(error).__name__}: {text}{place}"

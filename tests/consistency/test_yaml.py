"""What hparams/ says is used, means what it says, and cannot be mistaken for an option of SpeechBrain."""

import ast
import inspect
import pydoc
import re
from functools import cache

import pytest
import yaml
from repository_files import ROOT, SCRIPTS, launchable_yaml_files, python_files, tree, where, yaml_files

# Run options of SpeechBrain that a YAML sets on purpose, so that the command line overrides them by one name.
MEANT = {
    "precision",
    "eval_precision",
    "max_grad_norm",
    "grad_accumulation_factor",
    "skip_nonfinite_grads",
    "nonfinite_patience",
    "ckpt_interval_minutes",
    "ckpt_interval_steps",
}
READERS = ("tinyclap/brains", "tinyclap/training/experiment.py", "tinyclap/data", *SCRIPTS)
BUILDS = re.compile(r"^!(new|name|apply):(.+)$")
INCLUDE = re.compile(r"^!include:(.+)$")


@cache
def composed(path):
    """The node graph of a YAML file: nothing is built, tags stay as they are written."""
    return yaml.compose(path.read_text("utf-8"))


@cache
def top_level(path):
    """Top-level key -> its node."""
    return {key.value: value for key, value in composed(path).value}


def nodes(node):
    """Every node of a YAML file."""
    yield node
    for child in node.value if isinstance(node.value, list) else []:
        for part in child if isinstance(child, tuple) else (child,):
            yield from nodes(part)


def references(path):
    """What ``!ref`` and ``!copy`` reach: list of (top-level key, first key inside it or None)."""
    found = []
    for node in nodes(composed(path)):
        if node.tag in ("!ref", "!copy") and isinstance(node.value, str):
            found += re.findall(r"<(\w+)(?:\[(\w+)\])?", node.value)
    return [(key, inside or None) for key, inside in found]


def includes(path):
    """Every ``!include:``: list of (top-level key that holds it or None, included file, node)."""
    held_by = {id(node): key for key, node in top_level(path).items()}
    return [
        (held_by.get(id(node)), path.parent / INCLUDE.match(node.tag).group(1), node)
        for node in nodes(composed(path))
        if INCLUDE.match(node.tag)
    ]


def is_hparams(node):
    return ast.unparse(node).split(".")[-1] == "hparams"


@cache
def names_read_by_code():
    """Keys that scripts and Brains read by name.

    That is ``hparams["x"]``, ``self.hparams.x``, ``required_hparams``, and a constant whose name ends in ``_KEY``.
    """
    names = set()
    for path in python_files(*READERS):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Attribute) and is_hparams(node.value):
                names.add(node.attr)
            elif isinstance(node, ast.Subscript) and is_hparams(node.value) and isinstance(node.slice, ast.Constant):
                names.add(node.slice.value)
            elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]).endswith(("required_hparams", "_KEY")):
                names |= {leaf.value for leaf in ast.walk(node.value) if isinstance(leaf, ast.Constant)}
    return names


def run_option_names():
    """Every name that SpeechBrain's command line takes for itself."""
    from speechbrain.utils.run_opts import RunOptions

    options = RunOptions._create_parser()._option_string_actions
    return {option.removeprefix("--") for option in options if option.startswith("--")}


def test_the_scan_sees_the_recipes():
    assert len(launchable_yaml_files()) >= 5, [where(path) for path in launchable_yaml_files()]
    assert len(names_read_by_code()) >= 8, sorted(names_read_by_code())
    assert len(run_option_names()) >= 30


@pytest.mark.parametrize("path", launchable_yaml_files(), ids=lambda path: path.stem)
def test_no_key_is_taken_for_a_run_option(path):
    # argparse completes prefixes: --opt would set --optimizer_step_limit, and the YAML's own `opt` would never change
    taken = {
        key: sorted(option for option in run_option_names() if option.startswith(key))
        for key in top_level(path)
        if key not in MEANT
    }
    taken = {key: options for key, options in taken.items() if options}
    assert len(top_level(path)) >= 5
    assert not taken, f"rename these keys: {taken}"


@pytest.mark.parametrize("path", launchable_yaml_files(), ids=lambda path: path.stem)
def test_every_key_is_used(path):
    used = {key for key, _ in references(path)} | names_read_by_code() | MEANT
    unused = [
        key
        for key, node in top_level(path).items()
        # __seed: !apply:… acts when it is read, and is not for reading
        if key not in used and not (key.startswith("__") and node.tag.startswith("!apply:"))
    ]
    assert len(top_level(path)) >= 5
    assert not unused, f"neither a !ref nor the code reads: {unused}"


def test_every_key_of_a_part_is_used():
    reached = {}
    for path in yaml_files():
        for key, part, _ in includes(path):
            inside = {second for first, second in references(path) if first == key}
            reached.setdefault(part.resolve(), set()).update(inside)
    parts = [path for path in yaml_files() if path.parent.name == "parts"]
    unused = {}
    for part in parts:
        used = {key for key, _ in references(part)} | reached.get(part.resolve(), set()) | names_read_by_code()
        # `!ref <mel>` as a whole reaches all of it
        missing = [] if None in used else [key for key in top_level(part) if key not in used]
        if missing:
            unused[where(part)] = missing
    assert not unused
    assert not [where(part) for part in parts if part.resolve() not in reached], "parts that no YAML includes"


def test_references_and_includes_reach_something():
    n_references, wrong = 0, []
    for path in yaml_files():
        for key, _ in references(path):
            n_references += 1
            if key not in top_level(path):
                wrong.append(f"{where(path)}: <{key}>")
        for _, part, node in includes(path):
            if not part.exists():
                wrong.append(f"{where(path)}: {node.tag}")
            elif isinstance(node, yaml.MappingNode):
                wrong += [
                    f"{where(path)}: {node.tag} has no key {key.value}"
                    for key, _ in node.value
                    if key.value not in top_level(part)
                ]
    assert n_references >= 30, f"the scan found {n_references} references only"
    assert not wrong, "\n".join(wrong)


def test_what_is_built_exists_and_takes_these_arguments():
    n_built, wrong = 0, []
    for path in yaml_files():
        for node in nodes(composed(path)):
            match = BUILDS.match(node.tag)
            if not match:
                continue
            n_built += 1
            target = pydoc.locate(match.group(2))
            line = f"{where(path)}:{node.start_mark.line + 1}: {match.group(2)}"
            if target is None:
                wrong.append(f"{line} does not exist")
            elif isinstance(node, yaml.MappingNode) and match.group(2).startswith(("tinyclap.", "data_prep.")):
                given = {key.value for key, _ in node.value}
                accepted = inspect.signature(target).parameters
                any_key = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in accepted.values())
                wrong += [f"{line} takes no {key}" for key in sorted(given - set(accepted)) if not any_key]
    assert n_built >= 20, f"the scan found {n_built} objects only"
    assert not wrong, "\n".join(wrong)


def test_no_second_default_in_the_code():
    n_reads, wrong = 0, []
    for path in python_files(*READERS):
        for node in ast.walk(tree(path)):
            if isinstance(node, (ast.Attribute, ast.Subscript)) and is_hparams(node.value):
                n_reads += 1
            if not isinstance(node, ast.Call):
                continue
            called = node.func
            if isinstance(called, ast.Name) and called.id in ("getattr", "hasattr") and is_hparams(node.args[0]):
                wrong.append(f"{where(path, node)}: {ast.unparse(node)}")
            elif isinstance(called, ast.Attribute) and called.attr == "get" and is_hparams(called.value):
                wrong.append(f"{where(path, node)}: {ast.unparse(node)}")
    assert n_reads >= 10, f"the scan found {n_reads} reads only"
    assert not wrong, "a key is in the YAML or it is an error:\n" + "\n".join(wrong)


def test_the_embedded_default_sets_keys_that_exist():
    n_keys, wrong = 0, []
    for path in launchable_yaml_files():
        block = top_level(path).get("embedded_default")
        for key, value in block.value if block else []:
            names = (
                [part.value for part in value.value]
                if key.value == "unless"
                else [name.value for name, _ in value.value]
            )
            n_keys += len(names)
            wrong += [f"{where(path)}: {key.value}: {name}" for name in names if name not in top_level(path)]
    assert n_keys >= 10
    assert not wrong


def test_no_path_of_a_machine():
    texts = {where(path): path.read_text("utf-8") for path in yaml_files()}
    texts |= {where(path): path.read_text("utf-8") for path in python_files("tinyclap", "data_prep", *SCRIPTS)}
    assert len(texts) >= 20
    found = [name for name, text in texts.items() if re.search(r"(?<![\w.])/(home|Users|mnt|root|work)/", text)]
    assert not found
    assert (ROOT / "hparams").is_dir()

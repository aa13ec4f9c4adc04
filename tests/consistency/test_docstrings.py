"""Everything public is documented, and what it takes is named."""

import ast
import re
from functools import cache

import pytest
from repository_files import SCRIPTS, python_files, tree, where

# Methods whose meaning is fixed by the class they override: SpeechBrain's Brain and PyTorch's Module and Dataset.
INHERITED = {
    "compute_forward",
    "compute_objectives",
    "fit_batch",
    "evaluate_batch",
    "on_fit_start",
    "on_fit_batch_start",
    "on_fit_batch_end",
    "on_stage_start",
    "on_stage_end",
    "on_evaluate_start",
    "init_optimizers",
    "train",
    "eval",
    "forward",
    "extra_repr",
}
# with fewer, a line of prose and good names can be enough; where there is a section, it is complete
N_ARGUMENTS_FOR_A_SECTION = 4

ARGUMENTS = re.compile(r"^ *Arguments\n *-{9}$", re.MULTILINE)
SECTION = re.compile(r"^( *)([A-Z][A-Za-z]+)\n *(-{3,})$", re.MULTILINE)
SECTIONS = {"Arguments", "Attributes", "Returns", "Yields", "Raises", "Notes", "Example", "Source", "Shape"}


def arguments_of(function):
    """Names of a function's arguments but self, cls, private ones and * and **."""
    names = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)]
    return [name for name in names if name not in ("self", "cls") and not name.startswith("_")]


def is_property(function):
    return any(
        "property" in ast.unparse(decorator) or "setter" in ast.unparse(decorator)
        for decorator in function.decorator_list
    )


def public(node, inside=None):
    """Yield (what it is, node, enclosing class) for each public definition of a module or class."""
    for child in node.body:
        if isinstance(child, ast.ClassDef) and not child.name.startswith("_"):
            yield "class", child, inside
            yield from public(child, child)
        elif isinstance(child, ast.FunctionDef) and not child.name.startswith("_"):
            yield "method" if inside else "function", child, inside


@cache
def classes():
    """Every class of the repository, by name."""
    found = {}
    for path in python_files("tinyclap", "data_prep"):
        found |= {node.name: node for node in ast.walk(tree(path)) if isinstance(node, ast.ClassDef)}
    return found


def bases_of(node):
    """A class and all classes of the repository that it is made from."""
    names = [ast.unparse(base).split(".")[-1] for base in node.bases]
    return [node, *(base for name in names if name in classes() for base in bases_of(classes()[name]))]


def documentation_of(node, inside):
    """The docstring of a definition, with those of the methods that it overrides."""
    overridden = [child for base in bases_of(inside)[1:] for child in base.body] if inside else []
    same = [child for child in overridden if getattr(child, "name", None) == node.name]
    return "\n".join(ast.get_docstring(definition) or "" for definition in (node, *same))


def undocumented_arguments(names, docstring, all_named):
    """What a docstring lacks: names that its section leaves out, or the section where there should be one."""
    if ARGUMENTS.search(docstring) or all_named:
        return [name for name in names if not re.search(rf"\b{re.escape(name)}\b", docstring)]
    return [f"{len(names)} arguments and no Arguments section"] if len(names) >= N_ARGUMENTS_FOR_A_SECTION else []


@pytest.mark.parametrize("top", ["tinyclap", "data_prep"])
def test_every_module_begins_with_what_it_is_for(top):
    files = python_files(top)
    assert len(files) >= (15 if top == "tinyclap" else 8), f"the scan found {len(files)} files only"
    # a package's __init__ may be empty
    missing = [where(path) for path in files if path.read_text("utf-8").strip() and not ast.get_docstring(tree(path))]
    assert not missing, missing


def test_everything_public_is_documented():
    n_definitions, missing = 0, []
    for path in python_files("tinyclap", "data_prep", *SCRIPTS):
        for kind, node, inside in public(tree(path)):
            n_definitions += 1
            if not ast.get_docstring(node) and not (inside and node.name in INHERITED):
                missing.append(f"{where(path, node)}: {kind} {node.name}")
    assert n_definitions >= 80, f"the scan found {n_definitions} definitions only"
    assert not missing, "\n".join(missing)


def test_every_argument_is_named_in_the_docstring():
    n_arguments, wrong = 0, []
    for path in python_files("tinyclap", "data_prep"):
        for kind, node, inside in public(tree(path)):
            if kind == "class":
                # a Brain is made as SpeechBrain makes it
                made = [child for child in node.body if getattr(child, "name", None) == "__init__"]
                names = arguments_of(made[0]) if made and not node.name.endswith("Brain") else []
                docstring = "\n".join(documentation_of(part, None) for part in (node, *made))
            elif is_property(node) or (inside and node.name in INHERITED):
                continue
            else:
                names, docstring = arguments_of(node), documentation_of(node, inside)
            n_arguments += len(names)
            # what a constructor takes is a knob, and named however few they are
            silent = undocumented_arguments(names, docstring, all_named=kind == "class")
            if silent:
                wrong.append(f"{where(path, node)}: {kind} {node.name}: {', '.join(silent)}")
    assert n_arguments >= 150, f"the scan found {n_arguments} arguments only"
    assert not wrong, "\n".join(wrong)


def test_sections_have_the_names_of_the_house():
    n_sections, wrong = 0, []
    for path in python_files("tinyclap", "data_prep"):
        for node in ast.walk(tree(path)):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                for _, name, rule in SECTION.findall(ast.get_docstring(node) or ""):
                    n_sections += 1
                    if name not in SECTIONS or len(rule) != len(name):
                        wrong.append(f"{where(path, node)}: section {name!r} underlined by {len(rule)}")
    assert n_sections >= 50, f"the scan found {n_sections} sections only"
    assert not wrong, "\n".join(wrong)

"""The command line of a preparation script, built from the signature and docstring of its function."""

import argparse
import inspect
import logging
import re
import sys
import types
import typing

from tinyclap.errors import TinyclapError


def run(prepare, arguments=None):
    """Run a preparation function from the command line.

    Arguments
    ---------
    prepare : callable
        Annotated; its docstring has an ``Arguments`` section in the house's form.
    arguments : list of str or None
        None reads ``sys.argv``.

    Returns
    -------
    int
        Exit status: 0, or 1 after an error of ours, whose message went to stderr.
    """
    parser = parser_for(prepare)
    options = vars(parser.parse_args(arguments))
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    try:
        prepare(**options)
    except TinyclapError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def parser_for(prepare):
    """An argparse parser with one option for each argument of `prepare`.

    Example
    -------
    >>> def prepare(data_folder: str, folds: list[int] | None = None, check_audio: bool = True):
    ...     "Prepare nothing."
    >>> vars(parser_for(prepare).parse_args(["--data_folder", "here", "--folds", "1", "2", "--no-check_audio"]))
    {'data_folder': 'here', 'folds': [1, 2], 'check_audio': False}
    """
    documentation = inspect.getdoc(prepare) or ""
    helps = _argument_helps(documentation)
    parser = argparse.ArgumentParser(description=documentation.split("\n\n")[0].replace("%", "%%"))
    hints = typing.get_type_hints(prepare)
    for name, parameter in inspect.signature(prepare).parameters.items():
        required = parameter.default is inspect.Parameter.empty
        kwargs = {"required": required, "help": helps.get(name, "").replace("%", "%%")}
        if not required:
            kwargs["default"] = parameter.default
            kwargs["help"] += f" (default: {parameter.default})"
        kind = _without_none(hints[name])
        if kind is bool:
            kwargs["action"] = argparse.BooleanOptionalAction
        elif typing.get_origin(kind) is list:
            kwargs.update(type=typing.get_args(kind)[0], nargs="+")
        else:
            kwargs["type"] = kind
        parser.add_argument(f"--{name}", **kwargs)
    return parser


def _without_none(hint):
    if isinstance(hint, types.UnionType):
        return next(part for part in typing.get_args(hint) if part is not type(None))
    return hint


def _argument_helps(documentation):
    """Name to description, from the ``Arguments`` section of a docstring."""
    section = re.search(r"^Arguments\n-+\n(.*?)(?=^\w+\n-+\n|\Z)", documentation, re.S | re.M)
    helps = {}
    names = []
    for line in section.group(1).splitlines() if section else ():
        if line and not line[0].isspace():
            names = [name.strip() for name in line.split(":")[0].split(",")]
        elif line.strip():
            helps.update({name: f"{helps.get(name, '')} {line.strip()}".strip() for name in names})
    return helps

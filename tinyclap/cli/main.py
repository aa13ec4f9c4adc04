"""The command ``tinyclap``: finds the command that is meant, and turns errors into one line and an exit status."""

import argparse
import importlib
import os
import sys

from tinyclap import __version__
from tinyclap.cli.exit_status import DONE, FAILED, INTERRUPTED, USAGE
from tinyclap.errors import TinyclapError

# The command → what it does, in a line. Its module is tinyclap.cli.<command>_command, with add_arguments(parser) and
# run(options) → exit status; DESCRIPTION and EXAMPLES there are shown by its --help.
COMMANDS = {
    "classify": "name the sounds of recordings zero-shot, by words that you give",
    "embed": "turn recordings into vectors",
    "caption": "describe recordings in words",
    "search": "find recordings of an indexed folder by a text or a sound",
    "listen": "say what is heard when, in hours of audio or a live stream",
    "labels": "compile a list of names into a label bank",
    "export": "write a model as a folder that runs without torch",
    "bench": "time a model on this machine",
    "inspect": "say what a checkpoint or exported folder is",
    "doctor": "find what is wrong with this installation, and the command that mends it",
    "download": "fetch models ahead, so that everything works without a network",
    "completion": "print the shell's completion script",
}


def parser(command=None):
    """The command line; of one command alone where `command` says which, so that the others are not imported."""
    made = argparse.ArgumentParser(
        prog="tinyclap",
        description="Name, describe, find and time sounds with tiny audio-language models.",
        epilog="tinyclap COMMAND --help says more of each.",
    )
    made.add_argument("--version", action="version", version=f"tinyclap {__version__}")
    commands = made.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, line in COMMANDS.items():
        if command in (None, name):
            module = importlib.import_module(f"tinyclap.cli.{name}_command")
            part = commands.add_parser(
                name,
                help=line,
                description=module.DESCRIPTION,
                epilog=module.EXAMPLES,
                formatter_class=argparse.RawDescriptionHelpFormatter,
            )
            module.add_arguments(part)
            part.set_defaults(run=module.run)
        else:
            commands.add_parser(name, help=line, add_help=False)
    return made


def part_of(made, name):
    """The parser of one command, of what :func:`parser` made; `made` itself where there is no such command."""
    parts = next(action.choices for action in made._actions if isinstance(action, argparse._SubParsersAction))
    return parts.get(name, made)


def respelled(words, command):
    """Words of a command line with --keep_going where the option is called --keep-going, and the other way round.

    Arguments
    ---------
    words : list of str
    command : argparse.ArgumentParser
        Whose options are meant.

    Returns
    -------
    list of str

    Example
    -------
    >>> made = argparse.ArgumentParser()
    >>> _ = made.add_argument("--keep-going"), made.add_argument("--cache_dir")
    >>> respelled(["--keep_going", "--cache-dir=a_b-c", "--", "--keep_going"], made)
    ['--keep-going', '--cache_dir=a_b-c', '--', '--keep_going']
    """
    known = {name.replace("_", "-"): name for action in command._actions for name in action.option_strings}
    end = words.index("--") if "--" in words else len(words)
    parts = [word.partition("=") for word in words[:end]]
    named = [
        known.get(name.replace("_", "-"), name) + sign + value if name.startswith("--") else name + sign + value
        for name, sign, value in parts
    ]
    return named + words[end:]


def main(arguments=None):
    """Run the command line; returns the exit status (see :mod:`tinyclap.cli.exit_status`)."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if not arguments:
        parser("").print_help(sys.stderr)
        return USAGE
    asked = next((word for word in arguments if not word.startswith("-")), "")
    made = parser(asked if asked in COMMANDS else "")
    options = made.parse_args(respelled(arguments, part_of(made, asked)))
    try:
        return options.run(options)
    except TinyclapError as error:
        sys.stderr.write(f"tinyclap {options.command}: {error}\n")
        return FAILED
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped\n")
        return INTERRUPTED
    except BrokenPipeError:  # the reader (head, say) has enough
        _close_output()
        return DONE
    except OSError as error:  # no space, no permission
        sys.stderr.write(f"tinyclap {options.command}: {error}\n")
        _close_output()
        return FAILED


def _close_output():
    """Write what is left of the output to nowhere: Python would complain once more when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())

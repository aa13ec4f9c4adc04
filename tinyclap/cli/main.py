"""The command ``tinyclap``: finds the command that is meant, and turns errors into one line and an exit status."""

import argparse
import importlib
import os
import sys

from tinyclap import __version__
from tinyclap.cli.exit_status import FAILED, INTERRUPTED
from tinyclap.errors import TinyclapError

# The command → what it does, in a line. Its module is tinyclap.cli.<command>_command, with add_arguments(parser) and
# run(options) → exit status; DESCRIPTION and EXAMPLES there are shown by its --help.
COMMANDS = {
    "classify": "name the sounds of recordings, by any list of words",
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


def main(arguments=None):
    """Run the command line; returns the exit status (see :mod:`tinyclap.cli.exit_status`)."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    asked = next((word for word in arguments if not word.startswith("-")), "")
    options = parser(asked if asked in COMMANDS else "").parse_args(arguments)
    try:
        return options.run(options)
    except TinyclapError as error:
        sys.stderr.write(f"tinyclap {options.command}: {error}\n")
        return FAILED
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped\n")
        return INTERRUPTED
    except BrokenPipeError:
        # the reader (head, say) has enough; Python would complain once more when it closes its output
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


if __name__ == "__main__":
    sys.exit(main())

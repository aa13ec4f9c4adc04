"""The command ``tinyclap``: parses options, runs one command, turns every error into one line and an exit status."""

import contextlib
import os
import signal
import sys
import warnings

from tinyclap.cli.common import DONE, FAILED, INTERRUPTED, USAGE
from tinyclap.errors import TinyclapError

# Command → help line. Its module is tinyclap.cli.<command>_command: DESCRIPTION, EXAMPLES, add_arguments(parser), and
# run(options) → exit status, or None. Only the module of the command that runs is imported.
COMMANDS = {
    "classify": "zero-shot sound classification, with labels that you give",
    "embed": "audio embeddings",
    "caption": "describe recordings in sentences",
    "search": "find recordings of an indexed folder by a text or a sound",
    "listen": "detect when each sound begins and ends, in long audio or a live stream",
    "labels": "compile a list of names into a label bank",
    "export": "export a model to ONNX, to run without torch",
    "bench": "measure the speed of a model on this machine",
    "inspect": "show what a model, checkpoint, label bank or index is",
    "doctor": "check this installation, and print the command that fixes each problem",
    "download": "fetch models for use without a network",
    "completion": "print the completion script of a shell",
}
_STOPPED = "\nstopped\n"


def parser(command=None):
    """The argparse parser: with the options of one command, of all (None), or of none ("")."""
    import argparse
    import importlib

    class Parser(argparse.ArgumentParser):
        def error(self, message):
            from tinyclap.cli.outputs import printable

            self.exit(USAGE, f"{self.prog}: {printable(message)}; see {self.prog} --help\n")

        def _print_message(self, message, file=None):
            (file or sys.stderr).write(message)  # argparse's own passes over a full disk in silence

    from tinyclap import __version__

    made = Parser(
        prog="tinyclap",
        description="Classify, caption, search and detect sounds with tiny audio-language models.",
        epilog="tinyclap COMMAND --help shows the options of a command.",
    )
    made.add_argument("--version", action="version", version=f"tinyclap {__version__}")
    commands = made.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, line in COMMANDS.items():
        if command in (None, name):
            module = importlib.import_module(f"tinyclap.cli.{name}_command")
            shown = {"description": module.DESCRIPTION, "epilog": module.EXAMPLES}
            plain = argparse.RawDescriptionHelpFormatter
            part = commands.add_parser(name, help=line, **shown, formatter_class=plain)
            module.add_arguments(part)
            part.set_defaults(run=module.run)
        else:
            commands.add_parser(name, help=line, add_help=False)
    return made


def part_of(made, name):
    """The parser of one command in the parser `made`; `made` itself where there is no such command."""
    return made._subparsers._group_actions[0].choices.get(name, made)


def respelled(words, command):
    """Options of the command line as the argparse parser `command` spells them, with - or _ between words."""
    known = {name.replace("_", "-"): name for action in command._actions for name in action.option_strings}
    end = words.index("--") if "--" in words else len(words)
    parts = [word.partition("=") for word in words[:end]]
    return [
        (known.get(name.replace("_", "-"), name) if name.startswith("--") else name) + sign + value
        for name, sign, value in parts
    ] + words[end:]


def main(arguments=None):
    """Run the command line; returns the exit status (see :mod:`tinyclap.cli.common`).

    With None for `arguments` it is the program: ``sys.argv``, its own signal handlers and standard streams.
    """
    try:
        if arguments is None:
            signal.signal(signal.SIGINT, _interrupt)
            sys.unraisablehook = _unraisable
            _set_up_streams()
        words = sys.argv[1:] if arguments is None else list(arguments)
        try:
            status = _run(words)
        except SystemExit as stop:  # of argparse: --help, or a wrong option
            status = stop.code
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # the reader (head, say) has enough
        _discard_output()
        return DONE
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) or _interrupts:  # an interrupted import may end in an ImportError
            sys.stderr.write(_STOPPED)
            return INTERRUPTED
        if isinstance(error, OSError):
            _discard_output()
        elif not isinstance(error, (TinyclapError, MemoryError)):
            raise
        sys.stderr.write(f"tinyclap {' '.join(sys.argv[1:2]) if arguments is None else words[0]}: {_line(error)}\n")
        return FAILED


def _run(words):
    if not words:
        parser("").print_help(sys.stderr)
        return USAGE
    asked = next((word for word in words if not word.startswith("-")), "")
    made = parser(asked if asked in COMMANDS else "")
    part = part_of(made, asked)
    options, surplus = made.parse_known_args(respelled(words, part))
    if surplus:
        part.error(f"unrecognized arguments: {' '.join(surplus)}")
    if getattr(options, "imports", None):
        from tinyclap.config.own_modules import import_modules

        import_modules(options.imports)
    return options.run(options) or DONE


def _line(error):
    """An error as one line."""
    from tinyclap.cli.outputs import printable

    text = str(error)
    if isinstance(error, MemoryError):
        text = f"out of memory ({text})" if text else "out of memory"
    elif isinstance(error, OSError) and error.strerror:
        text = error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    return printable(text)


_interrupts = []


def _interrupt(*_):
    """Ctrl-C: the first raises KeyboardInterrupt, a second one ends the process at once."""
    _interrupts.append(True)
    if len(_interrupts) > 1:
        os._exit(INTERRUPTED)
    raise KeyboardInterrupt


def _unraisable(problem):
    """Ctrl-C within a finaliser, which Python would print and carry on from."""
    if problem.exc_type is KeyboardInterrupt:
        os.write(2, _STOPPED.encode())
        os._exit(INTERRUPTED)
    sys.__unraisablehook__(problem)


def _set_up_streams():
    """Replace characters that the terminal lacks, and open what the caller closed, so that no file takes its number."""
    if sys.stdin is None:  # it stays None, which says that nothing can be read
        os.open(os.devnull, os.O_RDONLY)
    if sys.stdout is None:  # read-only, so that writing results to it fails
        sys.stdout = open(os.open(os.devnull, os.O_RDONLY), "w", encoding="utf-8", errors="replace")
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8", errors="replace")
    warnings.showwarning = lambda message, *_: sys.stderr.write(f"tinyclap: {message}\n")
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace" if stream is sys.stdout else "backslashreplace")


def _discard_output():
    """Send what is left of the output nowhere: Python would complain once more when it ends."""
    with contextlib.suppress(OSError):  # a program that calls `main` may have put another object there
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())

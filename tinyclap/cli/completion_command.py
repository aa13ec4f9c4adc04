"""``tinyclap completion``: shell completion, by shtab."""

import sys

DESCRIPTION = "Print the completion script of a shell: commands, options, their choices, and files."
EXAMPLES = """\
examples:
  eval "$(tinyclap completion bash)"              (now; for every shell, put this line into ~/.bashrc)
  tinyclap completion zsh > "${fpath[1]}/_tinyclap"
  tinyclap completion fish > ~/.config/fish/completions/tinyclap.fish"""
SHELLS = ("bash", "zsh", "fish", "tcsh", "powershell")


def add_arguments(parser):
    """Add the options of the command."""
    parser.add_argument("shell", choices=SHELLS, help="shell to complete in")


def run(options):
    """Print the script."""
    import shtab

    from tinyclap.cli.main import COMMANDS, parser, part_of

    made = parser()
    for name in COMMANDS:
        for action in part_of(made, name)._actions:
            if action.choices is None and action.nargs != 0:
                action.complete = shtab.FILE
    sys.stdout.write(shtab.complete(made, options.shell) + "\n")

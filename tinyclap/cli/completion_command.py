"""``tinyclap completion``: the shell's completion script, made from the commands' own parsers."""

import argparse
import sys

from tinyclap.cli.exit_status import DONE

SHELLS = ("bash", "zsh", "fish")

DESCRIPTION = """\
Print the completion script of a shell: commands, their options, the choices of options, and files."""

EXAMPLES = """\
examples:
  eval "$(tinyclap completion bash)"                                   (now; or put the line into ~/.bashrc)
  tinyclap completion zsh > "${fpath[1]}/_tinyclap"
  tinyclap completion fish > ~/.config/fish/completions/tinyclap.fish"""


def add_arguments(parser):
    """Add the command's options to its parser."""
    parser.add_argument("shell", choices=SHELLS, help="whose script")


def run(options):
    """Print the script; returns the exit status."""
    from tinyclap.cli.main import COMMANDS, parser, part_of

    made = parser(None)
    commands = {name: _options_of(part_of(made, name)) for name in COMMANDS}
    script = {"bash": bash_script, "zsh": zsh_script, "fish": fish_script}[options.shell]
    sys.stdout.write(script(commands, COMMANDS))
    return DONE


def _options_of(parser):
    """Options of one command: list of (names, choices, help).

    Choices are None where it takes something else, and () where it takes nothing. A place for a word, with choices, has
    no names.
    """
    options = []
    for action in parser._actions:
        takes_nothing = action.nargs == 0 or isinstance(action, argparse.BooleanOptionalAction)
        choices = () if takes_nothing else None if action.choices is None else tuple(map(str, action.choices))
        if action.option_strings or choices:
            options.append((action.option_strings, choices, _first_words(action.help)))
    return options


def _first_words(text):
    """What an option does, in a few words that are safe in any quotes."""
    plain = (text or "").split(";")[0].split(" (")[0].split(":")[0]
    return "".join(sign for sign in plain if sign not in "'\"`$[]\\%!").strip()[:60]


def _cases(commands, line):
    return "\n".join(text for name, options in commands.items() if (text := line(name, options)))


def bash_script(commands, lines):
    """Bash: one function, which looks at the command and the word before.

    Arguments
    ---------
    commands : dict of str to list
        Command → its options: (names, choices, help).
    lines : dict of str to str
        Command → what it does.

    Returns
    -------
    str

    Example
    -------
    >>> "--top" in bash_script({"classify": [(["--top"], None, "how many")]}, {"classify": "name sounds"})
    True
    """

    def choices(name, options):
        return "\n".join(
            f'        {"|".join(f"{name}:{word}" for word in names)}) words="{" ".join(among)}" ;;'
            for names, among, _ in options
            if names and among
        )

    def own(name, options):
        names = [option for names, _, _ in options for option in names]
        places = [word for names, among, _ in options if not names for word in among]
        return f'        {name}) options="{" ".join(names)}"; places="{" ".join(places)}" ;;'

    return f"""# bash completion of tinyclap
_tinyclap() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}" command="${{COMP_WORDS[1]}}"
    local words="" options="" places=""
    COMPREPLY=()
    if [ "$COMP_CWORD" -le 1 ]; then
        COMPREPLY=( $(compgen -W "{" ".join(lines)} --help --version" -- "$word") )
        return
    fi
    case "$command:$before" in
{_cases(commands, choices)}
    esac
    if [ -n "$words" ]; then
        COMPREPLY=( $(compgen -W "$words" -- "$word") )
        return
    fi
    case "$command" in
{_cases(commands, own)}
    esac
    case "$word" in
        -*) COMPREPLY=( $(compgen -W "$options" -- "$word") ) ;;
        *) if [ -n "$places" ]; then COMPREPLY=( $(compgen -W "$places" -- "$word") ); fi ;;
    esac
}}
complete -o default -o filenames -F _tinyclap tinyclap
"""


def zsh_script(commands, lines):
    """Zsh: _arguments of the command that stands first; arguments as for :func:`bash_script`, returns str."""

    def spec(option):
        names, among, text = option
        takes = "" if among == () else f":value:({' '.join(among)})" if among else ":value:_files"
        return [f"'{name}[{text}]{takes}'" for name in names] if names else [f"'1:value:({' '.join(among)})'"]

    def own(name, options):
        specs = [part for option in options for part in spec(option)]
        has_places = any(not names for names, _, _ in options)
        return f"        {name}) _arguments {' '.join([*specs, *([] if has_places else [repr('*:file:_files')])])} ;;"

    described = " ".join(f"'{name}:{_first_words(line)}'" for name, line in lines.items())
    return f"""#compdef tinyclap
_tinyclap() {{
    local -a commands=({described})
    if (( CURRENT == 2 )); then
        _describe command commands
        return
    fi
    shift words
    (( CURRENT-- ))
    case "$words[1]" in
{_cases(commands, own)}
    esac
}}
if [ "$funcstack[1]" = _tinyclap ]; then _tinyclap "$@"; else compdef _tinyclap tinyclap; fi
"""


def fish_script(commands, lines):
    """Fish: a line for each option of each command; arguments as for :func:`bash_script`, returns str."""
    made = ["# fish completion of tinyclap"]
    for name, line in lines.items():
        made.append(f"complete -c tinyclap -n __fish_use_subcommand -f -a {name} -d '{_first_words(line)}'")
    for name, options in commands.items():
        start = f"complete -c tinyclap -n '__fish_seen_subcommand_from {name}'"
        for names, among, text in options:
            if not names:
                made.append(f"{start} -f -a '{' '.join(among)}'")
                continue
            kinds = [f"-l {word[2:]}" if word.startswith("--") else f"-s {word[1:]}" for word in names]
            takes = "" if among == () else f" -x -a '{' '.join(among)}'" if among else " -r -F"
            made.append(f"{start} {' '.join(kinds)}{takes} -d '{text}'")
    return "\n".join(made) + "\n"

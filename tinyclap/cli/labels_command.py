"""``tinyclap labels``: compile labels into a label bank, and show what banks hold."""

import json
import sys

from tinyclap.cli.common import add_model_arguments, open_model
from tinyclap.errors import ConfigError

DESCRIPTION = """\
Compile labels into a label bank: a file of their embeddings, computed once. Classifying with a bank needs no text
tower, and a C header (.h) needs no Python. A bank belongs to the model that it was compiled with.
"""
EXAMPLES = """\
examples:
  tinyclap labels "dog barking,rain,siren" --out mine.npz
  tinyclap labels names.txt --out mine.h --int8              a label a line; C arrays of 8 bits
  tinyclap labels "dog,rain" --template "the sound of {}" --template "{}" --out mine.json
  tinyclap labels --list                                     the banks that come with the model
  tinyclap labels --show mine.npz
  tinyclap classify dog.wav --labels mine.npz
"""


def add_arguments(parser):
    """Add the options of the command to its parser."""
    add = parser.add_argument
    add(
        "names",
        nargs="?",
        help='"dog barking,rain", a text file with a label a line, a .csv or .tsv file with a column label, name, '
        "display_name, category or class, or a bank whose labels are compiled again",
    )
    add("--out", metavar="FILE", help="the bank to write: .npz, .json or .h (C)")
    add("--template", action="append", help="prompt with {} for the label; several are averaged")
    add("--int8", action="store_true", help="8-bit C arrays with a scale for each label (.h)")
    add("--list", action="store_true", help="list the banks that come with the model")
    add("--show", metavar="BANK", help="show a bank (.npz, .json, or a ready one's name)")
    add("--json", action="store_true", help="--list and --show as JSON")
    add_model_arguments(parser)


def run(options):
    """Do what the options say."""
    if len([name for name in ("names", "list", "show") if getattr(options, name)]) != 1:
        raise ConfigError("give one of: names to compile, --list, or --show BANK")
    if options.list or options.show:
        sys.stdout.write((_listed if options.list else _shown)(options) + "\n")
        return
    if options.out is None:
        raise ConfigError("say where the bank goes: --out mine.npz (or .json, .h)")
    from tinyclap.text.bank import checked_target, compile_bank
    from tinyclap.text.labels import read_names

    checked_target(options.out, options.int8)
    names = read_names(options.names, options.model)
    bank = compile_bank(open_model(options), names, options.template)
    bank.save(options.out, options.int8)
    sys.stderr.write(f"{options.out}: {bank!r}\n")


def _listed(options):
    """One line a bank: its name, how many labels, and the first of them."""
    from tinyclap.text.bank import ready_bank, ready_names

    banks = {name: ready_bank(name, options.model).labels for name in ready_names(options.model)}
    if options.json:
        return json.dumps(banks, ensure_ascii=False)
    width = max(map(len, banks), default=0)
    lines = [
        f"{name:{width}}  {len(labels):4}  {', '.join(labels[:4])}{', …' * (len(labels) > 4)}"
        for name, labels in banks.items()
    ]
    return "\n".join(lines) or f"no bank comes with {options.model}"


def _shown(options):
    """A bank's facts and labels."""
    from tinyclap.text.bank import LabelBank, ready_bank

    is_file = options.show.lower().endswith((".npz", ".json"))
    bank = LabelBank.load(options.show) if is_file else ready_bank(options.show, options.model)
    if options.json:
        return json.dumps({**bank.facts(), "embed_dim": bank.embed_dim, "labels": bank.labels}, ensure_ascii=False)
    tower = bank.text_identity
    lines = [
        f"model       {bank.model}  sha256 {bank.model_sha256}",
        f"text tower  {tower.get('name', 'unknown')}  sha256 {tower.get('sha256', 'unknown')}",
        f"prompts     {'  '.join(map(repr, bank.templates))}",
        f"vectors     {len(bank.labels)} of {bank.embed_dim} dimensions, score: {bank.score_kind}",
        "labels",
        *(f"  {name}" for name in bank.labels),
    ]
    return "\n".join(lines)

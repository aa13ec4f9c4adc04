#!/usr/bin/env python3
"""Parameters and multiply-accumulates of the student that a recipe describes, without weights or training.

    python recipes/complexity.py --recipe hparams/distill_phinet.yaml --set "--alpha 1.5" --output_folder OUT

Writes OUT/metrics.json. Its ``value`` is the number of parameters; under ``model`` stand n_parameters, n_macs (all
matrix products) and n_macs_paper (convolutions and linear layers alone, as the paper counts) of a clip of --clip_s.
"""

import argparse
import re
import shlex
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(1, str(ROOT))

from hyperpyyaml import load_hyperpyyaml  # noqa: E402
from ruamel.yaml.error import YAMLError  # noqa: E402

from tinyclap.errors import ConfigError, TinyclapError  # noqa: E402
from tinyclap.files import write_json  # noqa: E402
from tinyclap.metrics.cost import complexity  # noqa: E402
from tinyclap.training.command_line import parse_command_line  # noqa: E402
from tinyclap.training.provenance import provenance  # noqa: E402
from tinyclap.training.values import read_value  # noqa: E402

REFERENCE = re.compile(r"<(\w+)")


def blocks_of(text):
    """The top-level keys of a recipe, each with its text: its values may need corpora that are not there."""
    starts = [*re.finditer(r"^(\w+):", text, re.MULTILINE)]
    ends = [start.start() for start in starts[1:]] + [len(text)]
    return {start[1]: text[start.start() : end] for start, end in zip(starts, ends, strict=True)}


def part_of(text, key):
    """The text of a recipe that `key` needs: its block and those that it refers to, in the recipe's order."""
    blocks = blocks_of(text)
    if key not in blocks:
        raise ConfigError(f"the recipe has no key {key}; its keys are {', '.join(blocks)}")
    wanted, todo = set(), [key]
    while todo:
        name = todo.pop()
        if name in blocks and name not in wanted:
            wanted.add(name)
            todo += REFERENCE.findall(re.sub(r"#.*", "", blocks[name]))
    return "".join(block for name, block in blocks.items() if name in wanted)


def build(recipe, words, key="student"):
    """The student of a recipe, with random weights.

    Arguments
    ---------
    recipe : pathlib.Path
    words : list of str
        Overrides, as for train.py. Keys of the recipe that the student does not need are checked and left out.

    Raises
    ------
    tinyclap.errors.ConfigError
        The recipe is missing, or has no such key.
    """
    if not recipe.is_file():
        raise ConfigError(f"no recipe {recipe}")
    _, _, options = parse_command_line([str(recipe), *words])
    overrides = {name: read_value(name, word, None) for name, word in options.items()}
    text = recipe.read_text(encoding="utf-8")
    strangers = sorted(set(overrides) - set(blocks_of(text)))
    if strangers:
        raise ConfigError(f"{recipe} has no key {', '.join(strangers)}; its keys are {', '.join(blocks_of(text))}")
    needed = part_of(text, key)
    mine = {name: value for name, value in overrides.items() if name in blocks_of(needed)}
    for name, value in mine.items():
        if isinstance(value, dict):  # maps are merged into maps alone
            needed = re.sub(rf"^{re.escape(name)}:[ ]*(null|~)\b.*$", f"{name}: {{}}", needed, count=1, flags=re.M)
    try:
        return load_hyperpyyaml(needed, mine)[key]
    except (YAMLError, ValueError, TypeError) as error:
        raise ConfigError(f"{recipe} with {shlex.join(words)}: {error}") from error


def main(words):
    """Build, count, write; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", required=True, type=Path, help="such as hparams/distill_phinet.yaml")
    parser.add_argument("--set", default="", metavar="WORDS", help="its options: '--alpha 1.5 --n_layers 7'")
    parser.add_argument("--clip_s", type=float, default=5.0, help="length of the clip (default: %(default)s s)")
    parser.add_argument("--output_folder", required=True, type=Path, help="metrics.json goes there")
    options = parser.parse_args(words)
    student = build(options.recipe, shlex.split(options.set)).eval()
    counts = complexity(student, options.clip_s)
    record = {
        "dataset": "none",
        "split": "none",
        "options": {"recipe": options.recipe.as_posix(), "set": options.set},
        "metric": "number of parameters",
        "value": counts["n_parameters"],
        "interval_95": None,
        "n_items": 1,
        "model": {"kind": "untrained", "weights": "none", **counts},
        "seed": None,
        **provenance("cpu"),
    }
    options.output_folder.mkdir(parents=True, exist_ok=True)
    write_json(options.output_folder / "metrics.json", record)
    print(f"{counts['n_parameters']:,} parameters, {counts['n_macs_paper'] / 1e6:.1f} MMACs as the paper counts")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except TinyclapError as error:
        sys.exit(f"{type(error).__name__}: {error}")

#!/usr/bin/env python3
"""Parameters and multiply-accumulates of the student that a recipe describes, without weights or training.

    python recipes/complexity.py --recipe hparams/distill_phinet.yaml --set "--alpha 1.5" --output_folder OUT

Writes OUT/metrics.json. Its ``value`` is the number of parameters; under ``model`` stand n_parameters, n_macs (all
matrix products) and n_macs_paper (convolutions and linear layers alone, as the paper counts) of a clip of --clip_s.
"""

import argparse
import io
import shlex
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(1, str(ROOT))

from hyperpyyaml import load_hyperpyyaml  # noqa: E402
from ruamel.yaml import YAML  # noqa: E402

from tinyclap.errors import ConfigError, TinyclapError  # noqa: E402
from tinyclap.files import write_json  # noqa: E402
from tinyclap.metrics.cost import complexity  # noqa: E402
from tinyclap.training.command_line import parse_command_line  # noqa: E402
from tinyclap.training.provenance import provenance  # noqa: E402
from tinyclap.training.recipe import Recipe  # noqa: E402


def build(recipe, words):
    """The student of a recipe, with random weights; nothing else of it is built, and no corpus need be there.

    Arguments
    ---------
    recipe : pathlib.Path
    words : list of str. Options, as for train.py.

    Raises
    ------
    tinyclap.errors.ConfigError: The recipe is missing, has no such key, or its student is none of the parts.
    """
    _, _, options = parse_command_line([str(recipe), *words])
    resolved = YAML(typ="rt").load(Recipe(recipe, options, is_complete=False).resolved())
    if not isinstance(resolved.get("student"), dict):
        raise ConfigError(f"{recipe}: its student is no part (!include:), so it cannot be built alone")
    text = io.StringIO()
    YAML(typ="rt").dump({"student": resolved["student"]}, text)
    return load_hyperpyyaml(text.getvalue())["student"]["model"]


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

"""``tinyclap inspect``: what a checkpoint, an exported folder, a file of weights, a bank or an index is."""

import json
import sys

from tinyclap.cli.exit_status import DONE
from tinyclap.config.shipped import DEFAULT_MODEL

DESCRIPTION = """Say what something is: size, parameters, MACs of a clip of 5 s, rate and window, teacher, data,
licences of all parts, scores, and how exact and how quick an export is. Takes the folder of a run,
of a saved model, of an export or of a search index; a file of weights (.safetensors, .pth, .ckpt),
a graph (.onnx) or a label bank (.npz, .json); the name of a shipped model, or owner/name on the
hub. Nothing in the files is executed; checksums are verified."""
EXAMPLES = """examples:
  tinyclap inspect                                   the model that comes with the package
  tinyclap inspect results/my_run --json
  tinyclap inspect CLAP_weights_2022.pth             which published network is this?
  tinyclap inspect model.safetensors --no-macs       from the file's header alone, no torch"""


def add_arguments(parser):
    """Add the options of the command."""
    parser.add_argument("source", nargs="?", default=DEFAULT_MODEL, help=f"what to look at (default: {DEFAULT_MODEL})")
    parser.add_argument("--no-macs", dest="macs", action="store_false", help="do not make a pass to count MACs")
    parser.add_argument("--json", action="store_true", help="everything as one JSON object")


def run(options):
    """Look, and write what was found to standard output; returns the exit status."""
    from tinyclap.cli.inspection import inspect_source

    found = inspect_source(options.source, options.macs)
    text = json.dumps(found, indent=1, ensure_ascii=False) if options.json else "\n".join(lines_of(found))
    sys.stdout.write(text + "\n")
    return DONE


def lines_of(found, indent=""):
    """A nested dict as lines for people.

    Arguments
    ---------
    found : dict
        Of JSON values.
    indent : str

    Returns
    -------
    list of str

    Example
    -------
    >>> lines_of({"is": "graph", "n_numbers": 12345, "types": {"F32": 1}})
    ['is:         graph', 'n_numbers:  12,345', 'types:', '  F32: 1']
    """
    width = max((len(str(key)) for key, value in found.items() if not isinstance(value, dict)), default=0) + 1
    lines = []
    for key, value in found.items():
        if isinstance(value, dict):
            lines += [f"{indent}{key}:", *lines_of(value, indent + "  ")]
        elif isinstance(value, list) and sum(len(str(each)) for each in value) > 80:
            lines += [f"{indent}{key}:", *(f"{indent}  {each}" for each in value)]
        else:
            lines.append(f"{indent}{str(key) + ':':{width}} {_shown(value)}")
    return lines


def _shown(value):
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)

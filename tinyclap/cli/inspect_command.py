"""``tinyclap inspect``: facts about a model, weights file, ONNX graph, label bank or search index."""

import json
import sys

from tinyclap.cli.common import add_import_argument
from tinyclap.config.shipped import DEFAULT_MODEL

DESCRIPTION = """\
Show what a model is: size, parameters, MACs for 5 s of audio, input and window, teacher, training data, licences,
scores, and latency and numerical parity of an export. SOURCE is the folder of a run, a saved model, an export or a
search index; a weights file (.safetensors, .pth, .ckpt), ONNX graph or label bank (.npz, .json); the name of a shipped
model; or owner/name on the Hub. Checksums are verified, and nothing in the files is executed."""
EXAMPLES = """\
examples:
  tinyclap inspect                                   the model that comes with the package
  tinyclap inspect results/my_run --json
  tinyclap inspect CLAP_weights_2022.pth             recognises published networks
  tinyclap inspect model.safetensors --no-macs       reads the header alone, without torch"""


def add_arguments(parser):
    """Add the options of the command."""
    add = parser.add_argument
    add("source", nargs="?", metavar="SOURCE", default=DEFAULT_MODEL, help="default: %(default)s")
    add("--no-macs", dest="macs", action="store_false", help="leave out MACs, which take a pass of a checkpoint")
    add("--json", action="store_true", help="print one JSON object")
    add_import_argument(parser)


def run(options):
    """Print the facts."""
    from tinyclap.cli.inspection import inspect_source

    found = inspect_source(options.source, options.macs)
    text = json.dumps(found, indent=1, ensure_ascii=False) if options.json else "\n".join(lines_of(found))
    sys.stdout.write(text + "\n")


def lines_of(found, indent=""):
    """A nested dict of JSON values as lines for people."""
    width = max((len(key) for key, value in found.items() if not isinstance(value, dict)), default=0) + 1
    lines = []
    for key, value in found.items():
        if isinstance(value, dict):
            lines += [f"{indent}{key}:", *lines_of(value, indent + "  ")]
        elif isinstance(value, list) and sum(len(str(each)) for each in value) > 80:
            lines += [f"{indent}{key}:", *(f"{indent}  {each}" for each in value)]
        else:
            lines.append(f"{indent}{key + ':':{width}} {_shown(value)}")
    return lines


def _shown(value):
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value)

"""``tinyclap export``: a model as ONNX graphs, to run without torch."""

import argparse
import logging
import sys

from tinyclap.export.command_line import DESCRIPTION, add_arguments  # noqa: F401 - add_arguments is the command's
from tinyclap.export.command_line import run as export

EXAMPLES = """\
examples:
  tinyclap export weights/tinyclap-phinet-m --target exported/student --labels "dog,rain,siren"
  tinyclap export results/my_run/1234 --target exported/mine --labels names.txt --precisions fp32 int8 \\
      --calibration-audio recordings/ --check-audio manifests/esc50_test.json@ESC-50-master
  tinyclap export efficientat-mn --path mn04_as_mAP_432.pt --target exported/tagger
  tinyclap export ordered --dim 256 --target exported/d256      (of a folder in which prune.py stored the order)"""


def run(options):
    """Export."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("tinyclap").setLevel(logging.INFO)
    given = {key: value for key, value in vars(options).items() if key not in ("command", "run")}
    sys.stdout.write(export(argparse.Namespace(**given)) + "\n")

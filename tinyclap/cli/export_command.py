"""``tinyclap export``: a model as a folder that runs without torch."""

import argparse
import logging
import sys

from tinyclap.cli.exit_status import DONE
from tinyclap.export import command_line

DESCRIPTION = command_line.DESCRIPTION
EXAMPLES = """\
examples:
  tinyclap export weights/tinyclap-phinet-m --target exported/student --labels "dog,rain,siren"
  tinyclap export results/my_run/1234 --target exported/mine --labels names.txt --precisions fp32 int8 \\
      --calibration_audio recordings/ --check_audio manifests/esc50_test.json@ESC-50-master
  tinyclap export efficientat-mn --path mn04_as_mAP_432.pt --target exported/tagger
  tinyclap export ordered --dim 256 --target exported/d256      (of a folder in which prune.py stored the order)
"""


def add_arguments(parser):
    """Add the command's options to its parser."""
    command_line.add_arguments(parser)


def run(options):
    """Export; returns the exit status."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("tinyclap").setLevel(logging.INFO)
    own = {key: value for key, value in vars(options).items() if key not in ("command", "run")}
    sys.stdout.write(command_line.run(argparse.Namespace(**own)) + "\n")
    return DONE

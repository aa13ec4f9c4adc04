#!/usr/bin/env python3
"""Write a model as a folder that runs without torch: tinyclap classify --model FOLDER sound.wav

    python export.py weights/tinyclap-phinet-m --target exported/student --labels "dog,rain,siren"
    python export.py results/distill_phinet/…/1234 --target exported/mine --labels names.txt \\
        --precisions fp32 int8 --calibration-audio recordings/ --check-audio manifests/esc50_test.json@ESC-50-master
    python export.py efficientat-mn --path mn04_as_mAP_432.pt --target exported/tagger
    python export.py tinyclap-student --path student_model.ckpt --text-weights CLAP_weights_2022.pth --target exported/s
    python export.py ordered --dim 256 --target exported/d256          (of a folder in which prune.py stored the order)

The same as ``tinyclap export``; options can be spelt with - or _ between words.
"""

import argparse
import logging
import sys

from tinyclap.cli.main import respelled
from tinyclap.errors import TinyclapError
from tinyclap.export.command_line import DESCRIPTION, add_arguments, run


def parser():
    """The command line."""
    made = argparse.ArgumentParser(description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(made)
    return made


def main(arguments=None):
    """Export what the command line says; returns the exit status."""
    made = parser()
    options = made.parse_args(respelled(sys.argv[1:] if arguments is None else list(arguments), made))
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("tinyclap").setLevel(logging.INFO)
    print(run(options))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except TinyclapError as error:
        sys.exit(f"{type(error).__name__}: {error}")

#!/usr/bin/env python3
"""Write a model as a folder that runs without torch: python -m tinyclap.runtime FOLDER sound.wav

    python export.py weights/tinyclap-phinet-m --target exported/student --labels "dog,rain,siren"
    python export.py results/distill_phinet/…/1234 --target exported/mine --labels names.txt \\
        --precisions fp32 int8 --calibration_audio recordings/ --check_audio manifests/esc50_test.json@ESC-50-master
    python export.py efficientat-mn --path mn04_as_mAP_432.pt --target exported/tagger
    python export.py tinyclap-student --path student_model.ckpt --text_weights CLAP_weights_2022.pth --target exported/s
    python export.py ordered --dim 256 --target exported/d256          (of a folder in which prune.py stored the order)

The folder gets the ONNX graphs from waveform to output (any length, any batch; the front end inside, norms folded),
config.json, labels with their vectors, golden clips with torch's outputs, parity.json (differences from the network,
cosines by clip, decisions, accuracy where labels are known) and latency.json. It is written whole, or not at all. An
int8 graph that loses more than --max_accuracy_drop points or falls below --min_cosine on real clips is refused.
"""

import argparse
import logging
import sys

from tinyclap.errors import TinyclapError
from tinyclap.export.labels import read_names
from tinyclap.export.quantise import METHODS
from tinyclap.export.sources import PUBLISHED, open_source, parse_options
from tinyclap.export.write import ExportOptions, export_audio_model, summary


def parser():
    """The command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = ExportOptions()
    made.add_argument("model", help=f"folder of a run or saved model; or, with --path, one of {', '.join(PUBLISHED)}")
    made.add_argument("--target", required=True, help="folder to write; an earlier export there is replaced")
    made.add_argument("--path", help="weights file of a published network")
    made.add_argument("--option", action="append", default=[], metavar="KEY=VALUE", help="size of a published network")
    made.add_argument("--text_weights", help="weights of the text side, where they are not with the model")
    made.add_argument("--dim", type=int, help="the most important dimensions alone, of a folder that prune.py wrote")
    made.add_argument("--labels", help="'dog,rain', a .txt file with a name a line, or a .csv file")
    made.add_argument("--templates", nargs="+", help="prompts with {} for the name (default: those of the text side)")
    made.add_argument("--precisions", nargs="+", choices=("fp32", "int8"), default=default.precisions)
    made.add_argument("--calibration_audio", help="real clips for int8: a folder, or MANIFEST.json@FOLDER")
    made.add_argument("--check_audio", nargs="+", default=[], help="real clips to compare on, as above")
    made.add_argument("--n_calibration", type=int, default=default.n_calibration)
    made.add_argument("--n_check", type=int, default=default.n_check)
    made.add_argument("--calibration_method", choices=METHODS, default=default.calibration_method)
    made.add_argument("--max_accuracy_drop", type=float, default=default.max_accuracy_drop, help="points (default: 1)")
    made.add_argument("--min_cosine", type=float, default=default.min_cosine)
    made.add_argument("--force", action="store_true", help="keep int8 whatever it loses")
    made.add_argument("--seed", type=int, default=default.seed)
    return made


def main(arguments=None):
    """Export what the command line says; returns the exit status."""
    given = vars(parser().parse_args(arguments))
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("tinyclap").setLevel(logging.INFO)
    where = {key: given.pop(key) for key in ("model", "path", "text_weights", "dim")}
    target, options = given.pop("target"), parse_options(given.pop("option"))
    labels = given.pop("labels")
    source = open_source(**where, options=options)
    if source.kind == "captioner":
        from tinyclap.export.captioner import export_captioner

        print(summary(target, export_captioner(source, target, ExportOptions(**given))))
        return 0
    given["labels"] = [] if labels is None else read_names(labels)
    if "fp32" not in given["precisions"]:
        given["precisions"] = ["fp32", *given["precisions"]]  # which int8 is made of and compared with
    print(summary(target, export_audio_model(source, target, ExportOptions(**given))))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except TinyclapError as error:
        sys.exit(f"{type(error).__name__}: {error}")

#!/usr/bin/env python3
"""Store the order of a student's dimensions in its folder, or remove those that matter least, weights and all.

    python evaluate.py hparams/rank_latent.yaml --weights RUN --output_folder RANKING …     (rank: on training audio)
    python prune.py RUN --ranking RANKING --target ordered             the order alone: load_student(…, dim=256) works
    python prune.py RUN --ranking RANKING --target small --dim 256     parameters and MACs go
    python prune.py RUN --ranking RANKING --target small --kept_fraction 0.25 --hidden_fraction 0.5 --fold
    python prune.py tinyclap-student --path student_model.ckpt --text_weights CLAP_weights_2022.pth \\
        --ranking RANKING --target small --dim 256

Rows of linear, MLP and tag heads go exactly. CLAP's own head ends in a LayerNorm, whose scale needs all dimensions:
where its bias is zero the scale cancels in the cosine; elsewhere it is estimated from --statistic_rows directions
(more: better; all: exact, but hardly anything is saved). --hidden_fraction also drops hidden units of that head,
approximately. The difference from masking is measured, on --check_audio or on noise, and printed. The target gets
config.json, model.safetensors and pruning.json.
"""

import argparse
import sys

from tinyclap.config import import_modules
from tinyclap.errors import ConfigError, TinyclapError
from tinyclap.export.sources import parse_options
from tinyclap.pruning.prune import PruneOptions, open_model, prune, summary


def parser():
    """The command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = PruneOptions()
    made.add_argument("model", help="folder of a run or saved model; or, with --path, tinyclap-student or msclap2022")
    made.add_argument("--ranking", required=True, help="folder that hparams/rank_latent.yaml wrote for this model")
    made.add_argument("--target", required=True, help="folder to write; not the model's own")
    made.add_argument("--path", help="weights file of a published network")
    made.add_argument("--text_weights", help="weights of a published student's text side")
    made.add_argument("--option", action="append", default=[], metavar="KEY=VALUE", help="size of a published network")
    made.add_argument("--dim", type=int, help="dimensions to keep; without it only the order is stored")
    made.add_argument("--kept_fraction", type=float, help="or their share, in (0, 1]")
    made.add_argument(
        "--statistic_rows", default=str(default.statistic_rows), help="directions for the scale, or all (default: 32)"
    )
    made.add_argument("--hidden_fraction", type=float, help="share of the head's hidden units to keep, in (0, 1]")
    made.add_argument("--fold", action="store_true", help="also fold the student's norms and last convolution")
    made.add_argument("--check_audio", help="clips to compare on: a folder, or MANIFEST.json@FOLDER (default: noise)")
    made.add_argument("--n_check", type=int, default=default.n_check)
    what = "a module of your own that the model's classes are in: my_net"
    made.add_argument("--import", dest="imports", action="append", default=[], metavar="MODULE", help=what)
    made.add_argument("--seed", type=int, default=default.seed)
    return made


def main(arguments=None):
    """Prune what the command line says; returns the exit status."""
    given = vars(parser().parse_args(arguments))
    rows = given["statistic_rows"]
    if rows != "all" and not rows.isdigit():
        raise ConfigError(f"--statistic_rows is a number or all, not {rows}")
    given["statistic_rows"] = None if rows == "all" else int(rows)
    import_modules(given.pop("imports"))
    where = {key: given.pop(key) for key in ("model", "path", "text_weights")}
    ranking, target, options = given.pop("ranking"), given.pop("target"), parse_options(given.pop("option"))
    model, note = open_model(**where, options=options)
    print(summary(target, prune(model, note, ranking, target, PruneOptions(**given))))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except TinyclapError as error:
        sys.exit(f"{type(error).__name__}: {error}")

"""The options of ``tinyclap export`` and export.py, and what they do. Torch is imported by `run` alone."""

from tinyclap.errors import ConfigError

DESCRIPTION = """\
Write a model as a folder that runs without torch: tinyclap classify --model FOLDER sound.wav

The folder gets the ONNX graphs from waveform to output (any length, any batch; the front end inside, norms folded),
config.json, labels with their vectors, golden clips with torch's outputs, parity.json (differences from the network,
cosines by clip, decisions, accuracy where labels are known) and latency.json. It is written whole, or not at all. An
int8 graph that loses more than --max_accuracy_drop points or falls below --min_cosine on real clips is refused.
Needs torch: pip install 'tinyclap[export]'
"""
_PLACES = ("model", "path", "text_weights", "dim")


def add_arguments(parser):
    """Add the options; those that are not given are left to :class:`tinyclap.export.write.ExportOptions`.

    Arguments
    ---------
    parser : argparse.ArgumentParser
    """
    parser.add_argument(
        "model",
        help="folder of a run or saved model; or, with --path, the name of a published network: efficientat-mn, "
        "tinyclap-student, … (another name lists them)",
    )
    parser.add_argument("--target", required=True, help="folder to write; an earlier export there is replaced")
    parser.add_argument("--path", help="weights file of a published network")
    parser.add_argument("--option", action="append", metavar="KEY=VALUE", help="size of a published network")
    parser.add_argument("--text_weights", help="weights of the text side, where they are not with the model")
    parser.add_argument("--dim", type=int, help="the most important dimensions alone, of a folder that prune.py wrote")
    parser.add_argument("--labels", help="'dog,rain', a .txt file with a name a line, or a .csv file")
    parser.add_argument("--templates", nargs="+", help="prompts with {} for the name (default: those of the text side)")
    parser.add_argument(
        "--text_side",
        choices=("auto", "yes", "no"),
        help="whether the folder takes any names later; auto: where its text tower is at hand (23 MB for MiniLM)",
    )
    parser.add_argument("--temperature_audio", nargs="+", help="labelled training clips, MANIFEST.json@FOLDER: shares")
    parser.add_argument("--background_audio", nargs="+", help="training clips, as above or a folder: false-alarm rates")
    parser.add_argument("--compact", action="store_true", default=None, help="captioners: weights stored as int8")
    parser.add_argument("--precisions", nargs="+", choices=("fp32", "int8"), help="default: fp32")
    parser.add_argument("--calibration_audio", help="real clips for int8: a folder, or MANIFEST.json@FOLDER")
    parser.add_argument("--check_audio", nargs="+", help="real clips to compare on, as above")
    parser.add_argument("--n_calibration", type=int, help="recordings for int8, at most")
    parser.add_argument("--n_check", type=int, help="recordings to compare on, at most")
    parser.add_argument("--calibration_method", help="how int8 ranges are found: minmax, entropy or percentile")
    parser.add_argument("--max_accuracy_drop", type=float, help="points that int8 may lose (default: 1)")
    parser.add_argument("--min_cosine", type=float, help="what int8 embeddings must reach on every clip")
    parser.add_argument("--force", action="store_true", default=None, help="keep int8 whatever it loses")
    parser.add_argument("--seed", type=int, help="chooses the recordings")


def run(options):
    """Export what the options say.

    Arguments
    ---------
    options : argparse.Namespace
        Of :func:`add_arguments`; further names are not allowed.

    Returns
    -------
    str
        What there is to say of it, in lines.

    Raises
    ------
    ConfigError
        An option is wrong, or torch is not installed.
    CheckpointError
        The model cannot be opened.
    """
    try:
        from tinyclap.export.quantise import METHODS
        from tinyclap.export.sources import open_source, parse_options
        from tinyclap.export.write import ExportOptions, export_audio_model, summary
        from tinyclap.text.labels import read_names
    except ImportError as error:
        raise ConfigError(f"export needs torch and onnx ({error}); run: pip install 'tinyclap[export]'") from error
    given = {key: value for key, value in vars(options).items() if value is not None}
    if given.get("calibration_method", METHODS[0]) not in METHODS:
        raise ConfigError(f"--calibration_method {given['calibration_method']}: choose one of {', '.join(METHODS)}")
    where = {key: given.pop(key, None) for key in _PLACES}
    target, sizes = given.pop("target"), parse_options(given.pop("option", []))
    labels = given.pop("labels", None)
    source = open_source(**where, options=sizes)
    if source.kind == "captioner":
        from tinyclap.export.captioner import export_captioner

        return summary(target, export_captioner(source, target, ExportOptions(**given)))
    given["labels"] = [] if labels is None else read_names(labels, minimum=2)
    if "fp32" not in given.get("precisions", ["fp32"]):
        given["precisions"] = ["fp32", *given["precisions"]]  # which int8 is made of and compared with
    return summary(target, export_audio_model(source, target, ExportOptions(**given)))

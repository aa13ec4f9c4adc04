"""The options of ``tinyclap export`` and export.py, and what they do. Torch is imported by `run` alone."""

from tinyclap.errors import ConfigError

DESCRIPTION = """\
Export a model to ONNX, as a folder that runs without torch: tinyclap classify --model FOLDER sound.wav

The graphs take waveforms of any length and batch size; the front end is inside. Beside them are config.json, label
embeddings, golden clips with torch's outputs, parity.json (differences from torch) and latency.json. The folder is
written atomically. An int8 graph that loses more than --max-accuracy-drop points, or falls below --min-cosine on real
clips, is refused. AUDIO is a folder of recordings, or MANIFEST.json@FOLDER for labelled clips. Needs torch:
pip install 'tinyclap[export]'
"""
_PLACES = ("model", "path", "text_weights", "dim")


def add_arguments(parser):
    """Add the options to an ArgumentParser; those that are not given are left to ``ExportOptions``."""
    add = parser.add_argument
    add(
        "model",
        help="folder of a run or a saved model; with --path, the name of a published network: efficientat-mn, "
        "tinyclap-student, … (any other name lists them)",
    )
    add("--target", required=True, metavar="FOLDER", help="folder to write; an earlier export there is replaced")
    add("--path", metavar="FILE", help="weights file of a published network")
    add("--option", action="append", metavar="KEY=VALUE", help="size of a published network; may be repeated")
    add("--text-weights", metavar="FILE", help="weights of the text encoder, if not part of the model")
    add(
        "--import", dest="imports", action="append", default=[], metavar="MODULE", help="your own modules that it needs"
    )
    add("--dim", type=int, metavar="N", help="keep the N most important dimensions, of a folder by prune.py")
    add("--labels", help="'dog,rain', a text file with one label a line, or a .csv file")
    add("--templates", nargs="+", metavar="TEXT", help="prompts with {} for the label (default: the text side's)")
    add(
        "--text-side",
        choices=("auto", "yes", "no"),
        help="include the text encoder, for labels given at run time (23 MB for MiniLM); auto: if it is at hand",
    )
    add("--temperature-audio", nargs="+", metavar="AUDIO", help="labelled training clips to fit the temperature on")
    add("--background-audio", nargs="+", metavar="AUDIO", help="training clips for false-alarm rates")
    add("--compact", action="store_true", default=None, help="captioners: store weights as int8")
    add("--precisions", nargs="+", choices=("fp32", "int8"), help="default: fp32")
    add("--calibration-audio", metavar="AUDIO", help="clips to calibrate int8 on")
    add("--check-audio", nargs="+", metavar="AUDIO", help="clips to compare with torch on")
    add("--n-calibration", type=int, metavar="N", help="maximum number of calibration clips")
    add("--n-check", type=int, metavar="N", help="maximum number of clips to compare on")
    add("--calibration-method", metavar="METHOD", help="int8 ranges: minmax, entropy or percentile")
    add("--max-accuracy-drop", type=float, metavar="X", help="accuracy points that int8 may lose (default: 1)")
    add("--min-cosine", type=float, metavar="X", help="minimum cosine of int8 and fp32 embeddings on every clip")
    add("--force", action="store_true", default=None, help="keep int8 even if it fails these checks")
    add("--seed", type=int, metavar="N", help="of the choice of clips")


def run(options):
    """Export what `options` (argparse.Namespace of :func:`add_arguments`) say; returns a summary in lines.

    ConfigError: an option is wrong, or torch is not installed. CheckpointError: the model cannot be opened.
    """
    try:
        from tinyclap.config.own_modules import import_modules
        from tinyclap.export.quantise import METHODS
        from tinyclap.export.sources import open_source, parse_options
        from tinyclap.export.write import ExportOptions, export_model, summary
        from tinyclap.text.labels import read_names
    except ImportError as error:
        raise ConfigError(f"export needs torch and onnx ({error}); run: pip install 'tinyclap[export]'") from error
    given = {key: value for key, value in vars(options).items() if value is not None}
    if given.get("calibration_method", METHODS[0]) not in METHODS:
        raise ConfigError(f"--calibration-method {given['calibration_method']}: choose one of {', '.join(METHODS)}")
    where = {key: given.pop(key, None) for key in _PLACES}
    target, sizes = given.pop("target"), parse_options(given.pop("option", []))
    labels = given.pop("labels", None)
    import_modules(given.pop("imports", ()))
    source = open_source(**where, options=sizes)
    given["labels"] = [] if labels is None or source.kind == "captioner" else read_names(labels, minimum=2)
    return summary(target, export_model(source, target, ExportOptions(**given)))

"""Exit statuses, and options that commands share: numbers within bounds, and the model."""

import argparse
import math

from tinyclap.config.shipped import DEFAULT_MODEL

# what the command returns to the shell; scripts may rely on it
DONE = 0
FAILED = 1  # nothing more was done; one line on standard error says why
USAGE = 2  # an option is wrong (argparse's own)
SOME_FAILED = 3  # with --keep-going: some recordings were left out, each named on standard error
INTERRUPTED = 130  # Ctrl-C; what was finished is kept

ENGINES = ("onnxruntime", "openvino")
PRECISIONS = ("auto", "fp32", "int8", "bf16")
MAX_THREADS = 1024
ONE_THREAD = "1, and one recording for each core at a time"


def whole(minimum=1, maximum=10**9):
    """An argparse type: a whole number within bounds."""

    def parse(text):
        if not (text.strip("+-").isdecimal() and minimum <= int(text) <= maximum):
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {minimum} to {maximum}")
        return int(text)

    return parse


def above_zero(text):
    """An argparse type: a finite number above zero."""
    value = finite(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above zero")
    return value


def finite(text):
    """An argparse type: a finite number."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is no finite number")
    return value


def add_model_arguments(parser, default=DEFAULT_MODEL, threads="all cores"):
    """Add the options of a model: `default` is its name where none is given, `threads` the default in the help."""
    group = parser.add_argument_group("model")
    add_source_arguments(group, default)
    add = group.add_argument
    add("--dim", type=whole(), metavar="N", help="use the N most important dimensions, where the model stores an order")
    add("--engine", choices=ENGINES, default=ENGINES[0], help="inference engine (default: %(default)s)")
    add("--precision", choices=PRECISIONS, default="auto", help="default: auto, the one that the model's folder names")
    add("--threads", type=whole(1, MAX_THREADS), metavar="N", help=f"threads of the engine (default: {threads})")


def add_source_arguments(group, default=DEFAULT_MODEL):
    """Add --model, --revision, --offline and --import to a parser or a group of one; `default` is the model's name."""
    add = group.add_argument
    what = "name of a shipped model, folder, or owner/name on the Hub (default: %(default)s)"
    add("--model", default=default, help=what)
    add("--revision", help="branch, tag or commit on the Hub")
    add("--offline", action="store_true", help="do not use the network")
    add_import_argument(group)


def add_import_argument(parser):
    """Add --import to a parser or a group of one; what it names is imported before the command runs."""
    what = (
        "your own modules that the model's classes are in, as in Python: my_net (looked up in the current folder too)"
    )
    parser.add_argument("--import", dest="imports", action="append", default=[], metavar="MODULE", help=what)


def open_model(options, n_threads=None):
    """The SoundModel that the options of :func:`add_model_arguments` name, with `n_threads` where they say none."""
    from tinyclap.inference.pretrained import from_pretrained

    how = {"engine": options.engine, "precision": options.precision, "n_threads": options.threads or n_threads}
    how |= {"imports": options.imports}
    return from_pretrained(options.model, options.dim, options.revision, options.offline, **how)


def model_identity(model, options):
    """What results of a model depend on: a dict, JSON-able, of checksums and options."""
    from tinyclap.files import sha256_of

    files = dict(model.config.get("files", {}))
    if not files:
        places = (model.backend.folder, model.backend.folder / "student")
        files = {path.name: sha256_of(path) for place in places for path in sorted(place.glob("*.safetensors"))}
    return {"files": files, "dim": options.dim, "engine": options.engine, "precision": options.precision}

"""Options that commands share: numbers within bounds, and the model."""

import argparse
import math

from tinyclap.config.shipped import DEFAULT_MODEL

ENGINES = ("onnxruntime", "openvino")
PRECISIONS = ("auto", "fp32", "int8", "bf16")
MAX_THREADS = 1024


def whole(minimum=1, maximum=10**9):
    """An argparse type: a whole number within bounds.

    Example
    -------
    >>> whole(1, 4)("3")
    3
    """

    def parse(text):
        if not (text.strip("+-").isdecimal() and minimum <= int(text) <= maximum):
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {minimum} to {maximum}")
        return int(text)

    return parse


def above_zero(text):
    """An argparse type: a finite number above zero.

    Example
    -------
    >>> above_zero("0.5")
    0.5
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above zero")
    return value


def add_model_arguments(parser, default=DEFAULT_MODEL, threads="all cores"):
    """Add the options of a model: `default` is its name where none is given, `threads` the default in the help."""
    group = parser.add_argument_group("model")
    add_source_arguments(group, default)
    group.add_argument(
        "--dim", type=whole(), metavar="N", help="use the N most important dimensions, where the model stores an order"
    )
    group.add_argument("--engine", choices=ENGINES, default=ENGINES[0], help="inference engine (default: %(default)s)")
    group.add_argument(
        "--precision", choices=PRECISIONS, default="auto", help="default: auto, the one that the model's folder names"
    )
    group.add_argument(
        "--threads", type=whole(1, MAX_THREADS), metavar="N", help=f"threads of the engine (default: {threads})"
    )


def add_source_arguments(group, default=DEFAULT_MODEL):
    """Add --model, --revision and --offline to a parser or a group of one; `default` is the model's name."""
    group.add_argument(
        "--model",
        default=default,
        help="name of a shipped model, folder, or owner/name on the Hub (default: %(default)s)",
    )
    group.add_argument("--revision", help="branch, tag or commit on the Hub")
    group.add_argument("--offline", action="store_true", help="do not use the network")


def open_model(options):
    """The SoundModel that the options of :func:`add_model_arguments` name."""
    from tinyclap.inference.pretrained import from_pretrained

    return from_pretrained(
        options.model,
        dim=options.dim,
        revision=options.revision,
        local_files_only=options.offline,
        engine=options.engine,
        precision=options.precision,
        n_threads=options.threads,
    )


ONE_THREAD = "1, and one recording for each core at a time"


def open_for_clips(options):
    """As :func:`open_model`, for many recordings in parallel: one engine thread each, unless --threads is given."""
    options.threads = options.threads or 1
    return open_model(options)


def model_identity(model, options):
    """What results of a model depend on: a dict, JSON-able, of checksums and options."""
    from tinyclap.files import sha256_of

    files = dict(model.config.get("files", {}))
    if not files:
        places = (model.backend.folder, model.backend.folder / "student")
        files = {path.name: sha256_of(path) for place in places for path in sorted(place.glob("*.safetensors"))}
    return {"files": files, "dim": options.dim, "engine": options.engine, "precision": options.precision}

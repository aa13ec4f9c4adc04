"""What commands share: the options that say which model, and its opening."""

from tinyclap.config.shipped import DEFAULT_MODEL

ENGINES = ("onnxruntime", "openvino")
PRECISIONS = ("auto", "fp32", "int8", "bf16")


def add_model_arguments(parser, default=DEFAULT_MODEL, threads="all cores"):
    """Add --model, --engine, --precision, --threads, --dim and --offline to a command's parser.

    Arguments
    ---------
    parser : argparse.ArgumentParser
    default : str
        The model that is taken where none is named.
    threads : str
        What is said of the threads that are taken where no number is given.
    """
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model",
        default=default,
        help=f"shipped name, folder, or owner/name on the hub (default: {default})",
    )
    group.add_argument("--revision", help="branch, tag or commit on the hub")
    group.add_argument("--dim", type=int, help="the most important dimensions alone, where an order is stored")
    group.add_argument("--engine", choices=ENGINES, default=ENGINES[0], help="who computes an exported model")
    group.add_argument(
        "--precision", choices=PRECISIONS, default="auto", help="auto: what the folder names as its best"
    )
    group.add_argument("--threads", type=int, help=f"threads of one pass (default: {threads})")
    group.add_argument("--offline", action="store_true", help="never ask the network")


def open_model(options):
    """Open the model that the options of :func:`add_model_arguments` name: a SoundModel."""
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


ONE_THREAD = "one, with as many recordings at a time as there are cores"


def open_for_clips(options):
    """Open the model for many recordings, each computed by one thread of the engine unless --threads says otherwise.

    Arguments
    ---------
    options : argparse.Namespace
        Of :func:`add_model_arguments`.

    Returns
    -------
    tinyclap.inference.sound_model.SoundModel
    """
    options.threads = options.threads or 1
    return open_model(options)


def model_identity(model, options):
    """What results of a model depend on, JSON-able, to be compared by a later run.

    Arguments
    ---------
    model : tinyclap.inference.sound_model.SoundModel
    options : argparse.Namespace
        Of :func:`add_model_arguments`.

    Returns
    -------
    dict
        SHA-256 of what it computes with, and the options that change its numbers.
    """
    from tinyclap.checkpoints.exported import file_sha256

    files = dict(model.config.get("files", {}))
    if not files:
        places = (model.backend.folder, model.backend.folder / "student")
        files = {path.name: file_sha256(path) for place in places for path in sorted(place.glob("*.safetensors"))}
    return {"files": files, "dim": options.dim, "engine": options.engine, "precision": options.precision}

"""Names sounds, or describes them, with an exported model: python -m tinyclap.runtime FOLDER AUDIO [AUDIO …]"""

import argparse
import json
import sys

from tinyclap.errors import TinyclapError
from tinyclap.runtime import load
from tinyclap.runtime.session import ENGINES, PRECISIONS
from tinyclap.text.labels import read_names
from tinyclap.text.scores import ranked


def parser():
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python -m tinyclap.runtime",
        description="Name or describe sounds with an exported model, without torch.",
    )
    made.add_argument("folder", help="what export.py wrote")
    made.add_argument("audio", nargs="*", help="recordings of any format, rate and length")
    made.add_argument("--engine", choices=ENGINES, default=ENGINES[0])
    made.add_argument("--precision", choices=("auto", *PRECISIONS), default="auto")
    made.add_argument("--threads", type=int, help="threads of one call (default: all cores)")
    made.add_argument(
        "--labels",
        help="those of the exported labels to choose among, as for: tinyclap classify",
    )
    made.add_argument("--top", type=int, default=5, help="names for each recording (default: 5)")
    made.add_argument("--json", action="store_true", help="JSON in place of the table")
    made.add_argument(
        "--check",
        action="store_true",
        help="compare this machine's outputs with the folder's golden ones",
    )
    return made


def main(arguments=None, out=sys.stdout):
    """Run the command; returns the exit status."""
    options = parser().parse_args(arguments)
    if not options.audio and not options.check:
        parser().error("give recordings, or --check")
    try:
        model = load(options.folder, options.engine, options.precision, options.threads)
        result = {"check": model.check()} if options.check else {}
        if options.audio:
            result["audio"] = dict(zip(options.audio, _said(model, options), strict=True))
    except TinyclapError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 1
    out.write(json.dumps(result, indent=1, ensure_ascii=False) + "\n" if options.json else _table(result))
    return 0


def _said(model, options):
    """What the model says of each recording: a caption, or a list of [name, score]."""
    if model.config["kind"] == "captioner":
        return model.caption(options.audio)
    if model.labels:
        labels = None if options.labels is None else read_names(options.labels)
        return model.classify(options.audio, labels, options.top)
    if model.tags:
        return ranked(model.tag(options.audio), model.tags, options.top)
    return [
        [
            (
                f"embedding of {model.embed_dim} dimensions; export with --labels to name sounds",
                0.0,
            )
        ]
    ] * len(options.audio)


def _table(result):
    lines = [f"check: {name} differs by at most {value:.3g}" for name, value in result.get("check", {}).items()]
    for path, said in result.get("audio", {}).items():
        if isinstance(said, str):
            lines.append(f"{path}: {said}")
            continue
        lines.append(path)
        lines += [f"  {value:7.4f}  {name}" for name, value in said]
    return "".join(f"{line}\n" for line in lines)


if __name__ == "__main__":
    sys.exit(main())

"""``tinyclap caption``: audio captioning."""

import os

from tinyclap.cli.common import ONE_THREAD, add_model_arguments, model_identity, open_model, whole
from tinyclap.cli.outputs import FILE, Form
from tinyclap.cli.run_clips import EXIT_STATUS, LONGEST_S, ClipRun, add_clip_arguments
from tinyclap.config.shipped import DEFAULT_CAPTIONER
from tinyclap.errors import ConfigError

DESCRIPTION = "Describe each recording in a sentence."
EXAMPLES = f"""\
examples:
  tinyclap caption street.wav
  tinyclap caption recordings/ --out captions.csv --keep-going
  tinyclap caption clotho_test/ --dcase --out submission_output_test.csv

{EXIT_STATUS}"""


def add_arguments(parser):
    """Add the options of the command."""
    add_clip_arguments(parser)
    add = parser.add_argument_group("captions").add_argument
    add("--beam", type=whole(), metavar="N", help="beam size (default: the model's own)")
    add("--max-words", type=whole(), metavar="N", help="longest caption, in words")
    add("--dcase", action="store_true", help="columns of DCASE: file_name (without folders) and caption_predicted")
    add_model_arguments(parser, DEFAULT_CAPTIONER, threads=ONE_THREAD)


def run(options):
    """Caption; returns the exit status."""
    clips = ClipRun(options)
    if options.dcase and clips.kind in ("jsonl", "parquet"):
        raise ConfigError("--dcase is a form of CSV; choose another --format or --out")
    model = open_model(options, 1)
    if model.kind != "captioner":
        raise ConfigError(f"{options.model} classifies and does not caption; leave --model out, or give a captioner")
    search = {"beam": options.beam, "max_words": options.max_words}
    given = {key: value for key, value in search.items() if value is not None}
    settings = {"command": "caption", "model": model_identity(model, options), **search, "dcase": options.dcase}
    # torch has all cores for a checkpoint, and OpenVINO's requests are one thread's
    alone = options.engine == "openvino" or not hasattr(model.backend, "decoder")

    def work(paths):
        from tinyclap.audio.batch import each_clip, require_sane

        def caption(path):
            require_sane(path, LONGEST_S)
            return model.caption([path], **given)[0]

        return each_clip(caption, paths, 1 if alone else options.workers, "skip")

    form = Form(
        ["file_name", "caption_predicted"] if options.dcase else [FILE, "caption"],
        lambda caption: [caption],
        lambda caption: {"caption": caption},
        lambda name, caption: f"{name}: {caption}\n",
        shown_name=os.path.basename if options.dcase else str,
    )
    return clips.run(form, settings, work)

"""``tinyclap caption``: recordings in words."""

import os

from tinyclap.cli.common import ONE_THREAD, add_model_arguments, model_identity, open_for_clips
from tinyclap.cli.outputs import FILE, Form
from tinyclap.cli.run_clips import LONGEST_S, ClipRun, add_clip_arguments
from tinyclap.config.shipped import DEFAULT_CAPTIONER
from tinyclap.errors import ConfigError

DESCRIPTION = """\
Describe recordings, a sentence each."""

EXAMPLES = """\
examples:
  tinyclap caption street.wav
  tinyclap caption recordings/ --out captions.csv --keep-going
  tinyclap caption clotho_test/ --dcase --out submission_output_test.csv       (columns file_name,caption_predicted)

exit status: 0 all done; 1 nothing more was done, standard error says why; 2 wrong option; 3 with --keep-going: some
recordings were left out; 130 stopped by Ctrl-C."""


def add_arguments(parser):
    """Add the command's options to its parser."""
    add_clip_arguments(parser)
    group = parser.add_argument_group("captions")
    group.add_argument(
        "--beam", type=int, metavar="N", help="sentences kept while searching (default: the model's own)"
    )
    group.add_argument("--max-words", type=int, metavar="N", help="longest caption, in words")
    group.add_argument("--dcase", action="store_true", help="the columns of DCASE, and names without their folders")
    add_model_arguments(parser, DEFAULT_CAPTIONER, threads=ONE_THREAD)


def run(options):
    """Caption; returns the exit status."""
    if options.dcase and options.format == "jsonl":
        raise ConfigError("--dcase is a form of CSV; leave --format jsonl out")
    clips = ClipRun(options)
    model = open_for_clips(options)
    if model.kind != "captioner":
        raise ConfigError(f"{options.model} names sounds and does not caption; leave --model out, or give a captioner")
    search = {"beam": options.beam, "max_words": options.max_words}
    asked = {key: value for key, value in search.items() if value is not None}
    settings = {"command": "caption", "model": model_identity(model, options), **search, "dcase": options.dcase}

    def work(paths):
        from tinyclap.audio.batch import each_clip, require_sane

        def caption(path):
            require_sane(path, LONGEST_S)
            return model.caption([path], **asked)[0]

        return each_clip(caption, paths, _n_workers(options, model), "skip")

    return clips.run(_form("file_name" if options.dcase else FILE, options.dcase), settings, work)


def _n_workers(options, model):
    """One for checkpoints, whose torch has all cores, and for OpenVINO, whose requests are one thread's."""
    alone = options.engine == "openvino" or not hasattr(model.backend, "decoder")
    return 1 if alone else options.workers


def _form(column, dcase):
    return Form(
        [column, "caption_predicted" if dcase else "caption"],
        lambda caption: [caption],
        lambda caption: {"caption": caption},
        lambda name, caption: f"{name}: {caption}\n",
        shown_name=os.path.basename if dcase else str,
    )

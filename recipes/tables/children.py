"""Running a task in a child process that has its libraries already.

The children come from a fork server that has imported torch, SpeechBrain and the package once, so that a small task
takes its own second and not six more. A child writes into the task's log, and ends when its parent is gone.
"""

import multiprocessing
import os
import runpy
import sys
import threading
import traceback

from rows import ROOT

# What tasks import in the course of their work, too: an optimiser loads torch._dynamo, and that sympy.
PRELOADED = [
    *("torch", "torch._dynamo", "torch.onnx", "torch.utils.flop_counter", "speechbrain", "transformers", "soundfile"),
    *(
        "soxr",
        "safetensors.torch",
        "train",
        "evaluate",
        "tinyclap.brains",
        "tinyclap.teachers",
        "tinyclap.losses.distillation",
    ),
    *("tinyclap.published.encoder_weights", "tinyclap.models.encoders", "tinyclap.data.distillation"),
    *("tinyclap.data.views", "tinyclap.data.corpora", "data_prep.soundscapes_prepare", "data_prep.esc50_prepare"),
]


def fork_server():
    """The multiprocessing context whose children have the libraries."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    # The server finds `train` and `evaluate` by this alone.
    places = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(places))
    return context


def start(context, words, log):
    """Start ``python WORDS`` from the repository's root in a child; returns its process.

    Arguments
    ---------
    context : multiprocessing.context.BaseContext
    words : list of str
        A script of the repository and its options.
    log : pathlib.Path
        What it says is added there.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    process = context.Process(target=_run, args=(list(words), str(log)))
    process.start()
    return process


def _run(words, log):
    """In the child: what ``python WORDS`` does."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with open(log, "a", encoding="utf-8") as file:
        print("$ python", *words, file=file, flush=True)
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(ROOT)
    sys.argv = words
    sys.path[:0] = [str((ROOT / words[0]).parent)]
    status = 1
    try:
        runpy.run_path(words[0], run_name="__main__")
        status = 0
    except SystemExit as end:
        status = _status_of(end.code)
    except BaseException:  # whatever it is: into the log, and the status says it
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    sys.exit(status)


def _status_of(code):
    """The exit status for what was given to ``sys.exit``."""
    if code is None or isinstance(code, int):
        return code or 0
    print(code, file=sys.stderr)
    return 1


def _end_with_parent():
    multiprocessing.parent_process().join()
    os._exit(3)

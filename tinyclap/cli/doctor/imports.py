"""Which libraries can be imported: tried in another process, each with a time limit, so that none can break or stop us.

One process tries them one after the other. Where one ends the process, or never ends, another process tries the rest.
"""

import json
import os
import queue
import subprocess
import sys
import threading
from dataclasses import dataclass

# Module → what is imported of it, and an expression for what else is worth knowing; `m` is what was imported. In this
# order: who imports others comes after them.
TRIALS = {
    "numpy": ("import numpy as m", "m.__version__"),
    "soundfile": ("import soundfile as m", "m.__libsndfile_version__ + ' ' + ' '.join(m.available_formats())"),
    "soxr": ("import soxr as m", "m.__version__"),
    "tqdm": ("import tqdm as m", "m.__version__"),
    "onnxruntime": ("import onnxruntime as m", "' '.join(m.get_available_providers())"),
    "openvino": ("import openvino as m", "' '.join(m.Core().available_devices)"),
    "safetensors": ("import safetensors as m", "m.__version__"),
    "torch": ("import torch as m", "str(m.version.cuda)"),
    "torchaudio": ("import torchaudio as m", "m.__version__"),
    "transformers": ("from transformers import BertModel as m", "''"),
    "hyperpyyaml": ("import hyperpyyaml as m", "''"),
    "speechbrain": ("import speechbrain as m", "m.__version__"),
    "onnx": ("import onnx as m", "m.__version__"),
    "onnxscript": ("import onnxscript as m", "m.__version__"),
    "aac_metrics": ("import aac_metrics as m", "m.__version__"),
}
_MARK = "tinyclap-doctor "
_CHILD = f"""
import json, sys
def say(kind, **what):
    sys.stdout.write({_MARK!r} + json.dumps(dict(kind=kind, **what)) + "\\n")
    sys.stdout.flush()
for name, statement, detail in json.loads(sys.argv[1]):
    say("start", name=name)
    names = {{}}
    try:
        exec(statement, names)
        say("done", name=name, detail=str(eval(detail, names)))
    except BaseException as error:
        say("failed", name=name, error=f"{{type(error).__name__}}: {{error}}")
"""


@dataclass(frozen=True)
class Trial:
    """How the import of one module went.

    Arguments
    ---------
    works : bool
    detail : str
        What :data:`TRIALS` asks for, where it works.
    error : str
        Class and message of what it raised, or how the process ended.
    """

    works: bool
    detail: str = ""
    error: str = ""


def try_imports(modules, limit_s=120.0, trials=None):
    """Try to import modules in another process.

    Arguments
    ---------
    modules : sequence of str
        Names in `trials`.
    limit_s : float
        Seconds that one of them may take; then its process is ended.
    trials : dict, optional
        As :data:`TRIALS`, which is taken by default.

    Returns
    -------
    dict of str to Trial

    Example
    -------
    >>> found = try_imports(["json", "gone"], trials={"json": ("import json as m", "m.__name__"), "gone": ("1/0", "")})
    >>> found["json"].detail, found["gone"].error
    ('json', 'ZeroDivisionError: division by zero')
    """
    trials = TRIALS if trials is None else trials
    waiting, found = list(modules), {}
    while waiting:
        finished = _one_process([(name, *trials[name]) for name in waiting], limit_s)
        found |= finished
        waiting = [name for name in waiting if name not in found]
    return found


def _one_process(trials, limit_s):
    """Try modules until all are done or one takes the process down; that one counts as failed: dict of Trial."""
    # the child looks where this process looks, and nowhere on the network
    places = os.pathsep.join(place or os.getcwd() for place in sys.path)
    surroundings = {"PYTHONPATH": places, "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
    child = subprocess.Popen(
        [sys.executable, "-P", "-c", _CHILD, json.dumps(trials)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        errors="replace",
        env=os.environ | surroundings,
    )
    lines = queue.Queue()
    threading.Thread(target=_hand_over, args=(child.stdout, lines), daemon=True).start()
    found, under_way = {}, trials[0][0]
    try:
        while (said := lines.get(timeout=limit_s)) is not None:
            under_way = said["name"] if said["kind"] == "start" else under_way
            if said["kind"] == "done":
                found[said["name"]] = Trial(True, said["detail"])
            elif said["kind"] == "failed":
                found[said["name"]] = Trial(False, error=said["error"])
        ended = child.wait(timeout=limit_s)
        problem = f"the process ended with status {ended}" + (f" (signal {-ended})" if ended < 0 else "")
    except (queue.Empty, subprocess.TimeoutExpired):
        problem = f"still not imported after {limit_s:g} s"
    finally:
        child.kill()
        child.wait()
    if len(found) < len(trials) and under_way not in found:
        found[under_way] = Trial(False, error=problem)
    elif len(found) < len(trials):  # it ended between two: nothing can be said of the next
        following = next(name for name, _, _ in trials if name not in found)
        found[following] = Trial(False, error=problem)
    return found


def _hand_over(stream, lines):
    """Put what the child says into a queue, and None at its end; what libraries print is left out."""
    for line in stream:
        if line.startswith(_MARK):
            lines.put(json.loads(line[len(_MARK) :]))
    lines.put(None)

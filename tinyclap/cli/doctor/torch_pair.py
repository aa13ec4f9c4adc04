"""torch and torchaudio: which builds are there, whether they go together, and what a failed import of one means.

torchaudio refuses a torch built for another CUDA major (2.11.0: another CUDA release); one from PyPI needs the CUDA
libraries, which a torch for processors alone does not bring. A torchaudio that raises takes speechbrain along, and
transformers, which then speaks of something else: "Could not import module 'BertModel'".
"""

import importlib.util
import re
from pathlib import Path

from tinyclap.cli.doctor.finding import FAULT, Finding
from tinyclap.cli.doctor.requirements import installed_version, pip, requirements, wanted

CPU_INDEX = "https://download.pytorch.org/whl/cpu"
_NEEDED_BY = ("train", "metrics")
_CUDA_LINE = re.compile(r"^cuda\b[^=]*=\s*['\"]?([^'\"\n]+)", re.MULTILINE)
_VERSION_LINE = re.compile(r"^__version__\s*=\s*['\"]([^'\"]+)", re.MULTILINE)
_TAG = re.compile(r"\+cu(\d+)(\d)")
_LIBRARY = re.compile(r"(lib[\w.+-]+\.so[\w.]*): cannot open shared object file")
WHY_BROKEN = "speechbrain cannot be imported with a torchaudio that raises, and transformers names another cause for it"


def build_of(module):
    """The version of torch or torchaudio with its build, and the CUDA that it was built for; without importing it.

    Arguments
    ---------
    module : {"torch", "torchaudio"}

    Returns
    -------
    str or None
        E.g. "2.14.1+cu130"; None where it is not installed.
    str or None
        E.g. "13.0"; None for a build for processors alone.
    """
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return None, None
    path = Path(spec.origin).with_name("version.py")
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    version, cuda = _VERSION_LINE.search(text), _CUDA_LINE.search(text)
    version = version[1] if version else (installed_version(module) or "unknown")
    tag = _TAG.search(version)
    if cuda is not None:
        return version, None if cuda[1].strip() == "None" else cuda[1].strip()
    return version, f"{tag[1]}.{tag[2]}" if tag else None


def check_pair():
    """What the builds of torch and torchaudio alone tell: list of Finding, empty where they go together."""
    (torch, torch_cuda), (audio, audio_cuda) = build_of("torch"), build_of("torchaudio")
    if torch is None or audio is None or torch_cuda == audio_cuda or audio_cuda is None:
        return []
    if torch_cuda and torch_cuda.split(".")[0] == audio_cuda.split(".")[0] and not audio.startswith("2.11.0"):
        return []  # since torchaudio 2.11.1
    if torch_cuda is None:
        return [
            Finding(
                "torch and torchaudio",
                FAULT,
                f"torch {torch} is built for processors alone, torchaudio {audio} for CUDA {audio_cuda}",
                f"torchaudio asks for libcudart, which is not there; {WHY_BROKEN}",
                cpu_torchaudio(),
                _NEEDED_BY,
            )
        ]
    return [
        Finding(
            "torch and torchaudio",
            FAULT,
            f"torch {torch} is built for CUDA {torch_cuda}, torchaudio {audio} for CUDA {audio_cuda}",
            f"torchaudio refuses a torch of another CUDA; {WHY_BROKEN}",
            matching_pair(),
            _NEEDED_BY,
        )
    ]


def cpu_torchaudio():
    """The command that puts torchaudio's build for processors in the place of another."""
    return pip("--force-reinstall", "--no-deps", "--index-url", CPU_INDEX, wanted("torchaudio"))


def matching_pair():
    """The command that installs a torch and a torchaudio that go together, of the kind that torch is now."""
    index = [] if build_of("torch")[1] else ["--index-url", CPU_INDEX]
    return pip(*index, wanted("torch"), wanted("torchaudio"))


def with_cuda_libraries():
    """The command that brings the CUDA libraries which torch's metadata ask for: new ones, or the same again."""
    lacking = [name for name in requirements("torch") if name.startswith("nvidia-") and not installed_version(name)]
    version = build_of("torch")[0].partition("+")[0]
    return pip(*([] if lacking else ["--force-reinstall"]), f"torch=={version}")


def explain(module, error, broken):
    """What a failed import of torch, torchaudio or one of those that import them means.

    Arguments
    ---------
    module : str
    error : str
        Class and message.
    broken : set of str
        Modules before it that failed.

    Returns
    -------
    tuple of str or None
        Why, and the command that mends it; None where nothing is known.
    """
    library = _LIBRARY.search(error)
    if library and module in ("torch", "torchaudio") and "torch" not in broken:
        if module == "torchaudio" and build_of("torch")[1] is None:
            return f"{library[1]} is no part of a torch for processors; {WHY_BROKEN}", cpu_torchaudio()
        return f"{library[1]}, one of the CUDA libraries that torch needs, is not installed", with_cuda_libraries()
    if module == "torchaudio" and "torch" not in broken:
        if "different CUDA" in error:
            return f"torchaudio refuses a torch of another CUDA; {WHY_BROKEN}", matching_pair()
        return WHY_BROKEN, pip("--force-reinstall", "--no-deps", wanted("torchaudio"))
    cause = next((name for name in ("torch", "torchaudio") if name in broken), None)
    if cause and module in ("torchaudio", "transformers", "speechbrain", "aac_metrics"):
        return f"{module} imports {cause}, which fails (above); mend that first", ""
    if module == "speechbrain" and build_of("torchaudio")[0] is None:
        return "speechbrain imports torchaudio, which is not installed", matching_pair()
    return None

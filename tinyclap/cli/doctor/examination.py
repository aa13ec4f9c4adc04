"""All checks in their order, and what they say as text or as JSON."""

import textwrap
from dataclasses import asdict, dataclass

from tinyclap.cli.doctor.caches import LIMIT_BYTES, check_hub_cache, check_shipped, check_tinyclap_cache
from tinyclap.cli.doctor.finding import FAULT, PURPOSES, WARNING, Finding
from tinyclap.cli.doctor.libraries import check_libraries, check_python, check_tinyclap
from tinyclap.cli.doctor.machine import check_disks, check_machine
from tinyclap.cli.doctor.network import check_network
from tinyclap.cli.doctor.programs import check_ffmpeg, check_java, check_metric_files
from tinyclap.cli.doctor.requirements import installed_version

# What tells that somebody wants a purpose, where none is named. Metrics are not guessed: most need no Java.
_SIGNS = {"runtime": ("onnxruntime",), "train": ("speechbrain", "torchaudio"), "export": ("onnxscript",)}
_WIDTH = 110


@dataclass
class Examination:
    """What to look at.

    Arguments
    ---------
    purposes : sequence of str
        Whose faults count; empty for those whose libraries are installed.
    limit_s : float
        Seconds that one import may take.
    network : bool
        Also ask whether the servers answer.
    space_mb : int or None
        What must be free in `folder`.
    folder : str or os.PathLike
        Where results go.
    all_checksums : bool
        Read fetched files however large they are.
    """

    purposes: tuple = ()
    limit_s: float = 120.0
    network: bool = False
    space_mb: int | None = None
    folder: str = "."
    all_checksums: bool = False

    def __post_init__(self):
        self._is_guess = not self.purposes
        self.purposes = tuple(self.purposes) or guessed_purposes()

    def findings(self):
        """Make all checks: list of Finding; faults that stop none of the purposes are warnings."""
        limit_bytes = 1 << 62 if self.all_checksums else LIMIT_BYTES
        found = [*check_python(), *check_tinyclap(), *check_libraries(self.purposes, self.limit_s, self._is_guess)]
        found += [*_survive(check_shipped), *check_tinyclap_cache(limit_bytes), *check_hub_cache(limit_bytes)]
        found += check_disks(self.purposes, self.space_mb, self.folder)
        found += [*check_machine(), *check_ffmpeg()]
        if "metrics" in self.purposes or (self._is_guess and installed_version("aac-metrics")):
            found += [*check_java(), *check_metric_files()]
        if self.network:
            found += check_network()
        return [finding.for_purposes(self.purposes) for finding in found]


def guessed_purposes():
    """The purposes whose libraries are installed; "runtime" where none is: tuple of str."""
    found = tuple(purpose for purpose, signs in _SIGNS.items() if any(installed_version(sign) for sign in signs))
    return found or PURPOSES[:1]


def _survive(check):
    """A check's findings; where a file cannot even be read, that."""
    try:
        return check()
    except OSError as error:
        return [Finding("files of tinyclap", FAULT, str(error), "they cannot be read", "")]


def as_json(findings, purposes):
    """The findings as a dict of JSON values: ``purposes``, ``n_faults``, ``n_warnings``, ``findings``."""
    return {
        "purposes": list(purposes),
        "n_faults": sum(each.status == FAULT for each in findings),
        "n_warnings": sum(each.status == WARNING for each in findings),
        "findings": [asdict(each) for each in findings],
    }


def as_text(findings, purposes):
    """The findings for people: a line each, then what is wrong, why it matters, and the command that mends it.

    Arguments
    ---------
    findings : list of Finding
    purposes : sequence of str

    Returns
    -------
    str

    Example
    -------
    >>> print(as_text([Finding("Java", FAULT, "none", "SPICE needs it.", "apt-get install java")], ["metrics"]))
    Examined for: metrics
    FAULT    Java                     none
    <BLANKLINE>
    FAULT in Java: none
      why:  SPICE needs it.
      mend: apt-get install java
    <BLANKLINE>
    1 fault, 0 warnings
    """
    lines = [f"Examined for: {', '.join(purposes)}"]
    lines += [f"{_shown(each.status):8} {each.part:24} {_first(each.found)}" for each in findings]
    for each in [*_of(findings, FAULT), *_of(findings, WARNING)]:
        lines += ["", *_wrapped(f"{_shown(each.status)} in {each.part}: {each.found}", "")]
        lines += _wrapped(f"  why:  {each.why}", "        ") if each.why else []
        lines += [f"  mend: {each.mend}"] if each.mend else []
    n_faults, n_warnings = len(_of(findings, FAULT)), len(_of(findings, WARNING))
    lines += ["", f"{n_faults} fault{'s' * (n_faults != 1)}, {n_warnings} warning{'s' * (n_warnings != 1)}"]
    return "\n".join(lines)


def _of(findings, status):
    return [each for each in findings if each.status == status]


def _shown(status):
    return status.upper() if status == FAULT else status


def _first(text, n_characters=_WIDTH - 34):
    return text if len(text) <= n_characters else text[: n_characters - 1] + "…"


def _wrapped(text, indent):
    return textwrap.wrap(text, _WIDTH, subsequent_indent=indent or "  ", break_long_words=False, break_on_hyphens=False)

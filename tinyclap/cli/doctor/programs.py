"""Programs beside Python: Java for two metrics of captions, ffmpeg for formats that libsndfile does not read."""

import shlex
import shutil
import sys

from tinyclap.cli.doctor.finding import FAULT, OK, WARNING, Finding
from tinyclap.cli.doctor.requirements import installed_version
from tinyclap.metrics.caption_resources import READY, check_metrics, java_major, java_path

_PYTHON = shlex.quote(sys.executable)
# fetches Eclipse Temurin into the home folder; needs no rights and disturbs no other Java
_FETCH_JAVA = (
    f"{_PYTHON} -m pip install install-jdk && "
    f'export AAC_METRICS_JAVA_PATH="$({_PYTHON} -c \'import jdk; print(jdk.install("11", jre=True))\')/bin/java"'
)


def check_java():
    """Whether there is a Java of a version that METEOR and SPICE run on: list of Finding."""
    major = java_major()
    needed_by = ("metrics",)
    if major is None:
        why = "METEOR and SPICE (hence SPIDEr) are Java programs; BLEU, ROUGE-L, CIDEr-D and FENSE need none"
        return [Finding("Java", FAULT, f"none: {java_path()!r} does not run", why, _FETCH_JAVA, needed_by)]
    if not 8 <= major <= 13:
        why = "SPICE runs on Java 8 to 13 alone; METEOR and the metrics without Java are not touched"
        return [Finding("Java", WARNING, f"version {major}", why, _FETCH_JAVA, needed_by)]
    return [Finding("Java", OK, f"version {major}")]


def check_metric_files():
    """Which metrics lack files that are fetched once: list of Finding."""
    if installed_version("aac-metrics") is None:
        return []
    try:
        state = check_metrics()
    except ImportError as error:
        return [Finding("metrics", WARNING, f"cannot be looked at ({error})", "mend the libraries above first", "")]
    lacking = {name: what for name, what in state.items() if what != READY and "aac-metrics-download" in what}
    if not lacking:
        return [Finding("metrics", OK, f"{sum(what == READY for what in state.values())} of {len(state)} are ready")]
    found = f"{', '.join(lacking)}: files not fetched yet"
    why = "the other metrics work; these are reported as missing"
    return [Finding("metrics", WARNING, found, why, "aac-metrics-download", ("metrics",))]


def check_ffmpeg():
    """Whether ffmpeg is there, which only recordings in m4a, aac, wma and films need: list of Finding."""
    path = shutil.which("ffmpeg")
    if path is None:
        return [Finding("ffmpeg", OK, "none; only m4a, aac, wma and films need it (apt-get install ffmpeg)")]
    return [Finding("ffmpeg", OK, path)]

"""Blocks of the pages about using a finished model: what benchmarks and recipes measured, as their scripts say it."""

import importlib
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
# scripts, each in its folder and run by its name
sys.path += [str(ROOT / folder) for folder in ("benchmarks", "recipes", "recipes/shipped")]


def _of(script, function="docs_table"):
    """A function of a script, imported when it is called."""
    return lambda *arguments: getattr(importlib.import_module(script), function)(*arguments)


def _read(path):
    return json.loads((ROOT / path).read_text(encoding="utf-8"))


# The block's name → the page that it stands in, and what writes it.
USE_PAGES = {
    "first_answer": ("README.md", lambda: _of("first_answer", "table")(RESULTS / "first_answer.json")),
    "many_files": ("docs/command_line.md", lambda: _of("many_files")(RESULTS / "many_files.json")),
    "listen_hour": (
        "docs/long_audio.md",
        lambda: _of("listen_hour", "page_table")(_read("benchmarks/results/listen_hour.json")),
    ),
    "search_speed": ("docs/search.md", lambda: _of("search_speed")(RESULTS / "search_speed.json")),
    "invariance": ("docs/results.md", lambda: _of("invariance")(RESULTS / "invariance.json")),
    "probe": (
        "docs/adapters.md",
        lambda: _of("probe", "table")(_read("recipes/real_audio/results/probe.json")["rows"]),
    ),
    "page": ("docs/browser.md", lambda: _of("page")(RESULTS / "page.json")),
    "shipped_figures": (
        "recipes/shipped/README.md",
        lambda: _of("shipped_figures", "table")(_read("recipes/shipped/figures.json")),
    ),
}

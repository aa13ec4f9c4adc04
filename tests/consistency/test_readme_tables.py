"""The README's tables are what a program makes of the result files."""

import json
import subprocess
import sys

from repository_files import ROOT


def test_the_tables_are_what_the_result_files_say():
    command = [sys.executable, str(ROOT / "recipes" / "update_readme.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_result_names_its_commit_its_prompts_and_its_number_of_clips():
    results = sorted((ROOT / "recipes" / "real_audio" / "results").glob("*/*/metrics.json"))
    assert len(results) >= 10
    for path in results:
        metrics = json.loads(path.read_text(encoding="utf-8"))
        assert len(metrics["commit"]) == 40 and metrics["prompts"] and metrics["n_items"] >= 100, path
        assert "/" not in metrics["model"]["weights"].split("results/")[0], f"{path} holds a path of one machine"

#!/usr/bin/env python3
"""How much of a zero-shot accuracy is the prompt: the same clips scored with other sentences for the same classes.

    python evaluate.py hparams/esc50.yaml --data_folder ESC-50-master --weights RUN --save_embeddings True
    python recipes/prompt_study.py --row "student=RUN_scores/esc50" --output results/prompts

Each row is one model on one corpus: the folder that evaluate.py wrote with --save_embeddings True. Its clips are not
heard again; the model's text side embeds the class names in every way: its own default, CLAP's and tinyCLAP's sentence,
each sentence of the ensemble and their mean, underscores and slashes kept or spelled out. The accuracies are of the
test clips, so the best prompt is flagged "chosen on test": it is no result of the model. Run it from where evaluate.py
ran, as weights are sought as they were given then. Written are prompt_study.csv, prompt_study.json, prompt_study.md.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))

from tinyclap.errors import ConfigError, TinyclapError
from tinyclap.files import write_json
from tinyclap.metrics.classification import paired_difference
from tinyclap.metrics.leakage import scored
from tinyclap.metrics.predictions import write_table
from tinyclap.pruning.ranking import EMBEDDINGS, read_arrays
from tinyclap.text.prompts import CLAP_TEMPLATE, ENSEMBLE, TINYCLAP_TEMPLATE, make_prompts
from tinyclap.training.provenance import git_state
from tinyclap.training.recipe import load_hparams

ROOT = Path(__file__).resolve().parents[1]
FIELDS = (
    *("model", "dataset", "folds", "prompt", "templates", "underscores", "slashes", "accuracy", "low", "high"),
    *("low_by_recording", "high_by_recording", "difference", "difference_low", "difference_high", "n_clips"),
    *("n_recordings", "flag"),
)
ARRAYS = ("audio", "text", "labels", "groups")
DEFAULT, BEST = "default", "chosen on test"
SAME = 1e-3  # of class embeddings computed twice, relative to their length


def variants(classes, own_templates):
    """Every way to ask, each but once.

    Arguments
    ---------
    classes : sequence of str
        As the corpus has them.
    own_templates : sequence of str
        The model's default.

    Returns
    -------
    list of (str, tuple of str, str, str, list)
        Name, templates, ``underscores``, ``slashes`` and the prompts; the default first.
    """
    asked = [("the model's own", tuple(own_templates)), ("tinyCLAP's", (TINYCLAP_TEMPLATE,)),
             ("CLAP's", (CLAP_TEMPLATE,)), *((f"“{one}”", (one,)) for one in ENSEMBLE),
             (f"ensemble of {len(ENSEMBLE)}", ENSEMBLE)]  # fmt: skip
    found = []
    for underscores in ("space", "keep"):
        for slashes in ("space", "or", "keep"):
            for name, templates in asked:
                prompts = make_prompts(classes, templates, underscores, slashes)
                if prompts not in [known[-1] for known in found]:
                    found.append((name, templates, underscores, slashes, prompts))
    return found


def read_scores(folder):
    """What evaluate.py left of one model: its metrics, its embeddings, and the model itself.

    Returns
    -------
    (dict, dict of array, tinyclap.teachers.FrozenTeacher)

    Raises
    ------
    ConfigError
        Something is missing, dimensions were left out, or the model is no longer the one that was scored.
    """
    for name in ("metrics.json", "run.json", EMBEDDINGS):
        if not (folder / name).is_file():
            raise ConfigError(
                f"no {folder / name}; run evaluate.py with --save_embeddings True --output_folder {folder}"
            )
    metrics, run = (json.loads((folder / name).read_text(encoding="utf-8")) for name in ("metrics.json", "run.json"))
    if "prompts" not in metrics:
        raise ConfigError(f"{folder} holds no zero-shot classification, so there is no prompt to study")
    if metrics.get("kept_dims") != metrics.get("n_dims"):
        part = f"{metrics['kept_dims']} of {metrics['n_dims']} dimensions"
        raise ConfigError(f"{folder} was scored with {part}; score it whole, without ranking and kept_dims")
    arrays = read_arrays(folder / EMBEDDINGS, ARRAYS)
    hparams = load_hparams(ROOT / "hparams" / run["recipe"], run["overrides"])
    model = hparams["modules"]["model"].load()
    again, before = model.embed_classes(metrics["prompts"]).float().cpu().numpy(), arrays["text"]
    if again.shape != before.shape or np.abs(again - before).max() > SAME * np.linalg.norm(before, axis=-1).max():
        raise ConfigError(f"{folder}: the model's class embeddings are not those of the scores; score it again")
    return metrics, arrays, model


def study(model, arrays, classes, seed=0):
    """Score clips that are embedded already, with every prompt.

    Arguments
    ---------
    model : tinyclap.teachers.FrozenTeacher
        Loaded; its text side is used alone.
    arrays : dict
        ``audio`` (n, D), ``labels`` (n,), ``groups`` (n,).
    classes : list of str
    seed : int
        Of the bootstrap.

    Returns
    -------
    list of dict
        One row a variant, the default first, as :data:`FIELDS` has them but for model, dataset and folds.
    """
    audio = torch.from_numpy(arrays["audio"])
    rows, default = [], None
    for name, templates, underscores, slashes, prompts in variants(classes, model.default_templates):
        class_rows = model.embed_classes(prompts).to("cpu", torch.float32)
        correct = model.score(audio, class_rows).argmax(dim=-1).numpy() == arrays["labels"]
        default = correct if default is None else default
        found = scored(correct, arrays["groups"], seed)
        difference, ends = paired_difference(default, correct, arrays["groups"], seed=seed)
        cells = [name, " | ".join(templates), underscores, slashes, found["accuracy"], *found["interval_95"],
                 *found["interval_95_by_recording"], difference, *ends, found["n_clips"], found["n_recordings"],
                 DEFAULT if not rows else ""]  # fmt: skip
        rows.append(dict(zip(FIELDS[3:], cells, strict=True)))
    best = max(rows, key=lambda row: row["accuracy"])
    best["flag"] = f"{best['flag']}, {BEST}".lstrip(", ")
    return rows


def page(rows):
    """The study as Markdown: a table for each model and corpus, and what the prompt is worth."""
    lines = []
    for model, dataset, folds in dict.fromkeys((row["model"], row["dataset"], row["folds"]) for row in rows):
        own = [row for row in rows if (row["model"], row["dataset"], row["folds"]) == (model, dataset, folds)]
        title = f"**{model}**, {dataset}" + (f" (folds {folds})" if folds else "")
        lines += [f"{title}: {own[0]['n_clips']} clips of {own[0]['n_recordings']} recordings", ""]
        lines += ["| prompt | underscores | accuracy, % [95 % over recordings] | against the default, points | |"]
        lines += ["|---|---|---|---|---|"]
        for row in own:
            value, ends = row["accuracy"], (row["low_by_recording"], row["high_by_recording"])
            against = row["difference"], row["difference_low"], row["difference_high"]
            slashes = "" if row["slashes"] == "space" else f", slashes: {row['slashes']}"
            lines.append(f"| {row['prompt']} | {row['underscores']}{slashes} | {_shown(value, *ends)} | "
                         f"{_shown(*against, sign='+')} | {row['flag']} |")  # fmt: skip
        values = [row["accuracy"] for row in own]
        spread, best = max(values) - min(values), max(values) - values[0]
        lines += ["", f"From worst to best {100 * spread:.1f} points by the words alone; the best, chosen on test, is "
                  f"{100 * best:.1f} above the default.", ""]  # fmt: skip
    return "\n".join(lines)


def _shown(value, low, high, sign=""):
    return f"{100 * value:{sign}.1f} [{100 * low:{sign}.1f}, {100 * high:{sign}.1f}]"


def main(arguments=None):
    """Study the prompts of each row; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--row", action="append", required=True, metavar="LABEL=FOLDER", help="a model's scores; repeat"
    )
    parser.add_argument("--output", type=Path, default=Path("results/prompts"), help="folder (results/prompts)")
    parser.add_argument("--bootstrap_seed", type=int, default=1234, help="of the intervals (1234)")
    options = parser.parse_args(arguments)
    rows = []
    for text in options.row:
        label, _, folder = text.partition("=")
        if not label or not folder:
            raise ConfigError(f"--row {text!r}: write it as LABEL=FOLDER")
        metrics, arrays, model = read_scores(Path(folder))
        folds = ", ".join(metrics["per_fold"]) if metrics["options"].get("subset") else ""
        head = {"model": label, "dataset": metrics["dataset"], "folds": folds}
        rows += [{**head, **row} for row in study(model, arrays, metrics["classes"], options.bootstrap_seed)]
    text = page(rows)
    options.output.mkdir(parents=True, exist_ok=True)
    write_json(options.output / "prompt_study.json", {"format": 1, "rows": rows, **git_state(ROOT)})
    write_table(options.output / "prompt_study.csv", [FIELDS, *(list(row.values()) for row in rows)])
    (options.output / "prompt_study.md").write_text(text, encoding="utf-8")
    print(text, f"Written: {options.output}/prompt_study.md, prompt_study.csv, prompt_study.json", sep="\n")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except TinyclapError as error:
        sys.exit(f"{type(error).__name__}: {error}")

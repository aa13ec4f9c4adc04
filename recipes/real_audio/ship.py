#!/usr/bin/env python3
"""Put a student of the real-audio recipe into the repository, with its model card.

    python recipes/real_audio/ship.py RUN SCORES TARGET
    python recipes/real_audio/ship.py results/real_audio/phinet_m/1234 results/real_audio/scores weights/NAME

Copies the run's released folder (config.json, model.safetensors), and writes MODEL_CARD.md from it and from the scores
of the student (SCORES/<run's name>/) and its teacher (SCORES/teacher/). A student that holds weights of its teacher is
refused.
"""

import json
import shutil
import sys
from pathlib import Path

MAX_BYTES = 8_000_000

CARD = Path(__file__).with_name("MODEL_CARD.template.md")


def read(path):
    """A JSON file's content."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def percent(metrics):
    """Accuracy with its interval."""
    low, high = metrics["interval_95"]
    return f"{100 * metrics['value']:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def main(run, scores, target):
    """Copy the student and write its card."""
    run, scores, target = Path(run), Path(scores), Path(target)
    config, note = read(run / "student" / "config.json"), read(run / "run.json")
    if note["recipe"] != "distill_real_audio.yaml":
        sys.exit(f"{run} was made by {note['recipe']}: only students from scratch hold none of their teacher's weights")
    weights = run / "student" / "model.safetensors"
    if weights.stat().st_size > MAX_BYTES:
        sys.exit(f"{weights} has {weights.stat().st_size:,} bytes; {MAX_BYTES:,} at most")
    name = run.parent.name
    lines, model, teacher = [], None, None
    for path in sorted((scores / name).glob("*/metrics.json")):
        student, of_teacher = read(path), read(scores / "teacher" / path.parent.name / "metrics.json")
        model, teacher = student["model"], of_teacher["model"]
        folds = ", ".join(map(str, student["options"]["folds"]))
        lines.append(
            f"| {student['dataset']} fold {folds} | {student['n_classes']} | {student['n_items']} | {percent(student)} "
            f"| {percent(of_teacher)} |"
        )
    if not lines:
        sys.exit(f"no scores in {scores / name}; run recipes/real_audio/run.sh with STAGES=score first")
    parts = [f"{corpus['name']} {part}" for corpus in config["corpora"] for part in (_said(corpus["parts"]["train"]),)]
    overrides = {key: value for key, value in note["overrides"].items() if "/" not in str(value)}
    target.mkdir(parents=True, exist_ok=True)
    for file in ("config.json", "model.safetensors"):
        shutil.copy(run / "student" / file, target / file)
    card = CARD.read_text(encoding="utf-8").format(
        name=target.name,
        target=target.as_posix(),
        parameters=model["n_parameters"],
        size_mb=weights.stat().st_size / 1e6,
        n_tags=len(config["text_side"]["labels"]),
        scores="\n".join(lines),
        macs_m=model["n_macs_paper"] / 1e6,
        teacher_macs_m=teacher["n_macs_paper"] / 1e6,
        recipe=f"hparams/{note['recipe']}",
        overrides=" ".join(f"--{key} {value}" for key, value in overrides.items()),
        seed=config["seed"],
        commit=config["starts"][0]["commit"],
        epoch=config["selected"]["epoch"],
        corpora="; ".join(parts),
    )
    (target / "MODEL_CARD.md").write_text(card, encoding="utf-8")
    print(f"{target}: {', '.join(path.name for path in sorted(target.iterdir()))}")


def _said(options):
    folds = options.get("folds")
    return f"folds {', '.join(map(str, folds))}" if folds else f"({options['split']} clips that are there)"


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])

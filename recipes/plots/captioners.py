"""Scores of captioners: ours by corpus, and what is not known of others."""

import statistics

from captioning import ladder_report
from plots.kept import RECIPES, read_csv, read_json, run_rows
from plots.scores import Score, interval, is_teacher, label_of


def caption_scores(recipes=RECIPES):
    """CIDEr-D of our captioners, by corpus: those of captioning.csv, of the ladder and of the recipe real_audio.

    Returns
    -------
    tuple
        (corpus to list of Score, ids of rows that have run but whose sizes are not kept). The ladder counts with all
        labels, where its table says how large its networks are, and where captioning.csv has none of it.
    """
    found, unsized = {}, []
    for row, records in run_rows(recipes, "captioning"):
        first = next(iter(records.values()))
        size = first.get("model")
        if row["metric"] != "metrics.cider_d.value" or row["group"] == "paper":
            continue
        if not size:
            unsized.append(row["row_id"])
        else:
            corpus = first["dataset"].split()[0]
            values = {seed: one["value"] for seed, one in records.items()}
            found.setdefault(corpus, []).append(
                Score(
                    label_of(row["title"]), corpus, "part", values, interval(records.values()),
                    size["n_parameters"], None, is_teacher(row["title"]), first["n_items"],
                )
            )  # fmt: skip
    if "soundscapes" not in found and (steps := ladder_scores(recipes)):
        found["soundscapes"] = steps
    if "audiocaps" not in found and (systems := real_captioners(recipes)):
        found["audiocaps"] = systems
    return found, unsized


def ladder_scores(recipes):
    """The ladder's losses with all labels, and its teacher."""
    lines = [row for row in read_csv(recipes / "captioning/results/ladder.csv") if float(row["labelled_fraction"]) == 1]
    runs = {}
    for row in lines:
        if row.get("n_parameters"):
            runs.setdefault(row["loss"], []).append(row)
    found = []
    for loss, some in runs.items():
        label = ladder_report.LOSSES[loss][0] if loss in ladder_report.LOSSES else loss
        values = {row["seed"]: float(row["cider_d"]) for row in some}
        clips = tuple(statistics.mean(float(row[name]) for row in some) for name in ("low", "high"))
        size, n_items = int(some[0]["n_parameters"]), int(some[0]["n_clips"])
        found.append(Score(label, "soundscapes", "part", values, clips, size, None, is_teacher(label), n_items))
    return found


def real_captioners(recipes):
    """The captioners of the recipe real_audio on AudioCaps' clips."""
    from update_readme import CAPTIONERS

    found = []
    for name, label in CAPTIONERS.items():
        path = recipes / "real_audio/results/captioning" / name / "audiocaps/metrics.json"
        if path.is_file():
            record = read_json(path)
            score = record["metrics"]["cider_d"]
            found.append(
                Score(
                    label, "audiocaps", "part", {str(record["seed"]): score["value"]}, interval([score]),
                    record["model"]["n_parameters"], None, name == "teacher", record["n_items"],
                )
            )  # fmt: skip
    return found


def unscored(recipes):
    """Published systems whose size is known and whose score is not public: label to number of parameters."""
    lines = read_csv(recipes / "literature.csv")
    return {
        row["label"]: int(row["n_parameters"]) for row in reversed(lines) if not row["value"] and row["n_parameters"]
    }

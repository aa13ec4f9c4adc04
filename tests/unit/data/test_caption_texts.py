"""Captions without audio: tables as published, broken tables, and batches that a seed and an epoch decide."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from tests import fakes
from tinyclap.data.batches import EpochSampler, collate
from tinyclap.data.caption_texts import CaptionTexts, make_text_sets
from tinyclap.data.vocabulary import Vocabulary
from tinyclap.errors import ConfigError, ManifestError

CLOTHO = {"name": "clotho", "file": "clotho_captions_development.csv", "group": "file_name",
          "columns": [f"caption_{k}" for k in range(1, 6)]}  # fmt: skip
AUDIOCAPS = {"name": "audiocaps", "file": "train.csv", "group": "youtube_id", "columns": ["caption"]}


class Lengths:
    """Evidence that is the captions' places."""

    def take(self, indices):
        return (torch.from_numpy(indices),)


@pytest.fixture
def texts(tmp_path):
    """Twelve captions in the style of AudioCaps, twenty in Clotho's."""
    audiocaps = fakes.audiocaps(tmp_path, "train", n_clips=12, n_present=0)
    clotho = fakes.clotho(tmp_path, "development", n_clips=4)
    return CaptionTexts([{**AUDIOCAPS, "folder": audiocaps}, {**CLOTHO, "folder": clotho}])


@pytest.fixture
def sets(tmp_path):
    """Training and validation batches of texts, with the words of all of them."""

    def make(texts, min_count=1, **options):
        path = tmp_path / f"words{min_count}.json"
        Vocabulary(texts, path, min_count=min_count).prepare()
        options = {"seed": 3, "batch_size": 4, "valid_fraction": 0.3, **options}
        return make_text_sets(texts, Lengths(), path, **options)

    return make


def table(folder, text):
    """Texts of a table of AudioCaps with these lines."""
    (folder / "train.csv").write_text("audiocap_id,youtube_id,start_time,caption\n" + text, encoding="utf-8")
    return CaptionTexts([{**AUDIOCAPS, "folder": folder}])


def test_published_tables_are_read_and_no_audio_is_needed(texts):
    captions, groups, styles = texts.prepare()
    assert (len(captions), len(set(groups)), styles.tolist()) == (32, 16, [0] * 12 + [1] * 20)
    assert captions[0] == "A dog barks, clip 0, sentence 0" and groups[12].startswith("clotho/Café")
    assert [row["n_captions"] for row in texts.describe()] == [12, 20]
    around = CaptionTexts([{**AUDIOCAPS, "folder": texts.tables[0]["folder"].parent}])
    assert around.captions() == captions[:12]


def test_a_corpus_without_a_folder_is_left_out_but_not_all(texts):
    kept = [{**CLOTHO, "folder": texts.tables[1]["folder"]}, {**AUDIOCAPS, "folder": None}]
    assert CaptionTexts(kept).styles == ["clotho"]
    with pytest.raises(ConfigError, match="no captions are named: .* of: --audiocaps_folder, --clotho_folder$"):
        CaptionTexts([{**AUDIOCAPS, "folder": None}, {**CLOTHO, "folder": None}])
    with pytest.raises(ConfigError, match="one name: clotho, clotho"):
        CaptionTexts([kept[0], kept[0]])


def test_a_missing_table_and_a_missing_column_say_what_there_should_be(tmp_path, texts):
    with pytest.raises(ManifestError, match="no table .*train.csv; give the folder of audiocaps that has train.csv"):
        CaptionTexts([{**AUDIOCAPS, "folder": tmp_path / "nowhere"}]).prepare()
    wrong = {**CLOTHO, "folder": texts.tables[1]["folder"], "columns": ["caption_1", "caption_6"]}
    with pytest.raises(ManifestError, match="has no column caption_6; it has file_name, caption_1"):
        CaptionTexts([wrong]).prepare()


def test_empty_captions_and_rows_that_are_too_wide_are_all_named(tmp_path):
    broken = table(tmp_path, "1,x,0,A dog\n2,y,0,\n3,z,0,...\n4,v,0,Rain, and wind\n")
    with pytest.raises(
        ManifestError, match=r"3 problem\(s\): row 5 has 1 cell.* row 3 has an empty .* row 4 has an em"
    ):
        broken.prepare()
    with pytest.raises(ManifestError, match="hold no caption"):
        table(tmp_path, "").prepare()


def test_every_training_caption_comes_once_an_epoch_and_none_that_is_held_out(texts, sets):
    both = sets(texts)
    batches = list(both["train"])
    train = torch.cat([batch.facts[0] for batch in batches]).tolist()
    valid = torch.cat([batch.facts[0] for batch in both["valid"]]).tolist()
    assert sorted(train + valid) == list(range(32)) and valid
    groups = texts.prepare()[1]
    assert not {groups[index] for index in train} & {groups[index] for index in valid}
    assert {int(style) for batch in batches for style in batch.style} == {0, 1}


def test_a_batch_is_decided_by_seed_epoch_and_index(texts, sets):
    def plan(epoch=1, **options):
        train = sets(texts, **options)["train"]
        return [train[epoch, number].facts[0].tolist() for number in reversed(range(len(train)))]

    assert plan() == plan() and plan() != plan(epoch=2) and plan() != plan(seed=4)
    valid = [sets(texts)["valid"][epoch, 0].ids.tolist() for epoch in (1, 2)]
    assert valid[0] == valid[1]


def test_a_loader_gives_whole_batches_with_any_number_of_workers(texts, sets):
    train = sets(texts)["train"]
    epochs = []
    for n_workers in (0, 2):
        sampler = EpochSampler(len(train), seed=1)
        sampler.set_epoch(2)
        loader = DataLoader(train, 1, sampler=sampler, collate_fn=collate, num_workers=n_workers)
        epochs.append([(batch.ids.tolist(), batch.style.tolist(), batch.facts[0].tolist()) for batch in loader])
    assert epochs[0] == epochs[1] and len(epochs[0]) == len(train)


def test_captions_of_one_length_meet_and_are_padded(tmp_path, sets):
    texts = table(tmp_path, "".join(f"{n},v{n},0,{'dog ' * (1 + n % 7)}\n" for n in range(70)))
    ids = [batch.ids for batch in sets(texts, batch_size=8)["train"]]
    assert np.mean([(batch == 0).float().mean() for batch in ids]) < 0.1
    assert all((batch[:, 0] == 1).all() and ((batch == 2).sum(dim=1) == 1).all() for batch in ids)


def test_a_caption_of_sixty_words_is_cut_and_unknown_words_are_counted(tmp_path, caplog, sets):
    texts = table(tmp_path, f"1,x,0,{'dog ' * 60}\n" + "".join(f"{n},v{n},0,rain\n" for n in range(2, 30)))
    with caplog.at_level("INFO"):
        both = sets(texts, min_count=30, batch_size=64, max_words=20, valid_fraction=0.5)
    assert "28 of 88 words are not in the vocabulary" in caplog.text and "1 are cut at 20 words" in caplog.text
    assert max(batches[0].ids.shape[1] for batches in both.values()) == 22


def test_a_side_without_captions_is_an_error(texts, sets):
    with pytest.raises(ManifestError, match="valid_fraction=0.0 leaves 32 captions to train on and 0 to validate"):
        sets(texts, valid_fraction=0.0)

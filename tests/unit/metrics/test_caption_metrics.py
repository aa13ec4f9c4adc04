"""Caption metrics: values worked by hand, the library's own, and what happens where Java or weights are missing."""

import importlib.util
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tinyclap.errors import ConfigError
from tinyclap.metrics import captioning
from tinyclap.metrics.captioning import (
    METRICS,
    available,
    bleu_intervals,
    check_metrics,
    cider_d,
    combined,
    score_captions,
    tokenised,
    with_intervals,
)

HAS_LIBRARY = importlib.util.find_spec("aac_metrics") is not None
needs_library = pytest.mark.skipif(not HAS_LIBRARY, reason="needs the extra: pip install tinyclap[metrics]")
JAVA_FREE = ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider_d", "vocab")
REFERENCES = [
    ["A dog barks twice, then a man speaks.", "a dog is barking while someone talks", "barking and speech"],
    ["Rain falls on a tin roof.", "It's raining hard on the roof!"],
    ["Birds sing in the forest", "several birds are chirping", "birds", "a forest with many singing birds"],
    ["A man speaks over an engine's noise.", "an engine idles while a man is speaking"],
]
CANDIDATES = ["a dog barks while a man speaks", "rain falls on the roof the roof", "", "an engine idles"]


# CIDEr-D and BLEU -----------------------------------------------------------------------------------------------------


def cider_d_of_clips(candidates, references):
    return score_captions(candidates, references, ["cider_d"])[1]["cider_d"]


@needs_library
def test_cider_d_of_a_clip_said_as_its_reference_says_it_is_ten():
    texts = ["a dog barks loudly", "rain falls on roofs"]
    assert cider_d_of_clips(texts, [[text.upper() + "."] for text in texts]) == pytest.approx([10, 10])
    assert cider_d_of_clips(texts[::-1], [[text] for text in texts]) == [0, 0]
    assert cider_d(["a dog barks loudly", "rain"], [["A dog barks loudly."], ["A cat meows twice."]]) == 5


@needs_library
def test_cider_d_by_hand():
    # Two clips, every n-gram in one of them: idf = ln 2 for all, which cancels.
    #   "a b" with "a b c": cosines 2/(√2 √3) and 1/(1 √2) for one and two words, 0 for three and four; one word less.
    #   "a a" with "a b": min(2, 1)·1 / (2 √2), and no pair; as long.
    wanted = 10 / 4 * (2 / math.sqrt(6) + 1 / math.sqrt(2)) * math.exp(-1 / 72)
    assert cider_d_of_clips(["a b", "d"], [["a b c"], ["d"]]) == pytest.approx([wanted, 10 / 4])
    assert cider_d_of_clips(["a a", "d"], [["a b"], ["d"]])[0] == pytest.approx(10 / 4 / (2 * math.sqrt(2)))
    assert cider_d(["a b", "d"], [["a b c"], ["d"]]) == pytest.approx((wanted + 10 / 4) / 2)


@needs_library
def test_a_word_that_every_clip_s_references_have_counts_nothing():
    assert cider_d_of_clips(["a", "b"], [["a"], ["a"]]) == [0, 0]
    assert cider_d(["rain"], [["rain"]]) == 0  # of one clip every word is such a word


@needs_library
def test_bleu_by_hand():
    # two of three words are hits ("the" once only), one of two pairs; the closest reference has three words
    corpus = score_captions(["the the dog"], [["the dog barks", "a dog"]], ["bleu_1", "bleu_2"])[0]
    assert list(corpus.values()) == pytest.approx([2 / 3, math.sqrt(1 / 3)])
    # two words for four: every word is a hit, and the penalty is exp(1 − 4/2)
    assert score_captions(["a b"], [["a b c d"]], ["bleu_1"])[0]["bleu_1"] == pytest.approx(math.exp(-1))


@needs_library
def test_bleu_s_interval_holds_its_value_and_repeats_itself():
    candidates, references = CANDIDATES * 20, REFERENCES * 20
    corpus = score_captions(candidates, references, JAVA_FREE[:4])[0]
    intervals = bleu_intervals(candidates, references, seed=1)
    assert all(low < corpus[name] < high for name, (low, high) in intervals.items()) and len(intervals) == 4
    assert intervals == bleu_intervals(candidates, references, seed=1)
    # where all clips are alike there is nothing to draw: both ends are the value
    same = bleu_intervals(["the the dog"] * 3, [["the dog barks", "a dog"]] * 3)["bleu_2"]
    assert same == pytest.approx([math.sqrt(1 / 3)] * 2)


@needs_library
@pytest.mark.parametrize("references", [("a dog", "it rains"), np.array(["a dog", "it rains"])])
def test_a_sentence_in_the_place_of_a_list_is_one_reference(references):
    wanted = score_captions(["a dog barks", "rain"], [["a dog"], ["it rains"]], JAVA_FREE)
    assert score_captions(["a dog barks", "rain"], references, JAVA_FREE) == wanted
    assert cider_d(["a dog barks", "rain"], references) == wanted[0]["cider_d"]


@pytest.mark.parametrize(
    ("candidates", "references", "message"),
    [
        (["a"], [["a"], ["b"]], "1 captions to score, and references for 2 clips"),
        ([], [], "0 captions"),
        (["a", "b"], [["a"], []], "1 clip\\(s\\) have no reference with a word in it, the first is clip 1"),
        (["a", "b"], [["…"], ["b"]], "the first is clip 0"),
        (["a", "b"], ["…", "b"], "the first is clip 0"),
        ("ab", [["a"], ["b"]], "captions: 'ab' is no list of texts"),
        (["a", "b"], "ab", "references: 'ab' is no list of texts"),
        (["a", "b"], {"a": ["a"], "b": ["b"]}, "references: .* is no list of texts"),
        (None, [["a"]], "captions: None is no list"),
        (["a", None], [["a"], ["b"]], "caption 1 is None, which is no text"),
        (["a", "b"], [["a"], None], "the references of clip 1: None is no list"),
        (["a", "b"], [["a", float("nan")], ["b"]], "a reference of clip 0 is nan, which is no text"),
        (["a", "b"], [[["a"]], ["b"]], "a reference of clip 0 is \\['a'\\], which is no text"),
        (["a", b"b"], [["a"], ["b"]], "caption 1 is b'b'"),
    ],
)
def test_what_cannot_be_scored_is_refused(candidates, references, message):
    with pytest.raises(ConfigError, match=message):
        tokenised(candidates, references)


# The library ----------------------------------------------------------------------------------------------------------


@needs_library
def test_all_that_needs_no_java_is_scored():
    corpus, per_clip, missing = score_captions(CANDIDATES, REFERENCES, JAVA_FREE)
    assert not missing and set(corpus) == set(JAVA_FREE) and set(per_clip) == set(JAVA_FREE) - {"vocab"}
    assert corpus["cider_d"] == cider_d(CANDIDATES, REFERENCES)
    assert per_clip["cider_d"][2] == per_clip["rouge_l"][2] == per_clip["bleu_1"][2] == 0  # nothing was said
    # a dog barks while man speaks rain falls on the roof an engine idles
    assert corpus["vocab"] == 14


@needs_library
def test_rouge_l_by_hand():
    # "a dog" lies in "a dog barks": precision 2/3, recall 1, and recall weighs 1.2² times as much
    corpus, _, _ = score_captions(["A dog barks!"], [["a dog"]], ["rouge_l"])
    assert corpus["rouge_l"] == pytest.approx(2.44 * (2 / 3) / (1 + 1.44 * 2 / 3))


@needs_library
def test_case_and_punctuation_do_not_count():
    loud = [f"{text.upper()} !!" for text in CANDIDATES]
    assert score_captions(loud, REFERENCES, JAVA_FREE) == score_captions(CANDIDATES, REFERENCES, JAVA_FREE)


@needs_library
def test_what_is_missing_is_named_and_left_empty(monkeypatch, tmp_path):
    for name in ("AAC_METRICS_CACHE_PATH", "FENSE_DATA"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("AAC_METRICS_JAVA_PATH", str(tmp_path / "java"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setitem(sys.modules, "pycocoevalcap", None)
    outcome = score_captions(CANDIDATES, REFERENCES)
    corpus, per_clip, missing = outcome
    assert list(corpus) == list(METRICS)
    assert {name for name in corpus if corpus[name] is None} == set(missing) == set(METRICS) - set(JAVA_FREE)
    assert set(per_clip) == set(JAVA_FREE) - {"vocab"}
    assert "aac-metrics-download" in missing["meteor"] and "pycocoevalcap==1.2" in missing["meteor"]
    assert "Java 8 to 13 (there is none" in missing["spice"] and "aac-metrics-download" in missing["spice"]
    assert missing["spider"] == "needs spice" and missing["spider_fl"] == "needs spice and fer"
    assert "paraphrase-TinyBERT-L6-v2" in missing["sbert_sim"] and missing["fense"] == "needs sbert_sim and fer"
    records = with_intervals(CANDIDATES, REFERENCES, outcome)
    assert records["spice"] == {"value": None, "missing": missing["spice"]}
    assert records["vocab"] == {"value": 14, "interval_95": None}
    for name in set(JAVA_FREE) - {"vocab"}:
        low, high = records[name]["interval_95"]
        assert low <= records[name]["value"] == corpus[name] <= high


def test_spider_and_what_is_not_fluent():
    cider, spice, fer = [2.0, 0.0], [0.5, 0.1], [0.0, 1.0]
    assert combined("spider", {"cider_d": cider, "spice": spice}) == (pytest.approx(0.65), pytest.approx([1.25, 0.05]))
    assert combined("spider_fl", {"cider_d": cider, "spice": spice, "fer": fer})[1] == pytest.approx([1.25, 0.005])
    assert combined("fense", {"sbert_sim": [0.8, 0.6], "fer": fer})[1] == pytest.approx([0.8, 0.06])


@needs_library
def test_one_clip_has_no_cider_d():
    corpus, _, missing = score_captions(["rain"], [["rain"]], ["cider_d", "bleu_1"])
    assert corpus["cider_d"] is None and "two clips" in missing["cider_d"] and corpus["bleu_1"] == pytest.approx(1)


def test_without_the_extra_the_line_that_installs_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "aac_metrics", None)  # as Python marks a module that is not there
    with pytest.raises(ConfigError, match=r"needs the package aac-metrics: pip install tinyclap\[metrics\]"):
        score_captions(CANDIDATES, REFERENCES)
    with pytest.raises(ConfigError, match="CIDEr-D needs the package aac-metrics"):
        cider_d(CANDIDATES, REFERENCES)
    assert set(check_metrics()) == set(METRICS)


@needs_library
@pytest.mark.parametrize(
    ("metrics", "message"), [(["cider", "bleu_4"], "metrics cider: unknown"), ([], "is \\[\\]"), ("fense", "'fense'")]
)
def test_metrics_that_cannot_be_meant_are_refused(metrics, message):
    with pytest.raises(ConfigError, match=message):
        available(metrics)


# Java and networks ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "major"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('java version "1.8.0_392"', 8),
        ('Picked up JAVA_TOOL_OPTIONS: -Dx=1\nopenjdk version "25" 2025-09-16', 25),
        ("command failed", None),
    ],
)
def test_the_version_of_java_is_read(said, major, monkeypatch, tmp_path):
    java = tmp_path / "java"
    java.write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{said}\nEND\n")
    java.chmod(0o755)
    monkeypatch.setenv("AAC_METRICS_JAVA_PATH", str(java))
    assert captioning.java_major() == major


@pytest.mark.slow
@needs_library
def test_meteor_runs_where_java_and_its_program_are():
    state = check_metrics()["meteor"]
    if state != captioning.READY:
        pytest.skip(f"METEOR {state}")
    outcome = score_captions(CANDIDATES, REFERENCES, ["meteor"])
    assert not outcome[2] and 0 < outcome[0]["meteor"] < 1 and outcome[1]["meteor"][2] == 0
    record = with_intervals(CANDIDATES, REFERENCES, outcome)["meteor"]
    assert record["interval_95"][0] <= record["mean_of_clips"] <= record["interval_95"][1]


def random_bert(folder):
    """A BERT of one layer over the words of the captions, saved; returns it."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    words = sorted({word for text in sum(REFERENCES, CANDIDATES) for word in text.lower().strip(".!").split()})
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]) + "\n")
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    model = BertModel(BertConfig(vocab_size=len(words) + 5, **sizes))
    model.save_pretrained(folder)
    return model


def in_hub_cache(cache, name):
    """Where the files of a hub model lie in a cache."""
    folder = Path(cache) / f"models--{name.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0" * 40)
    return folder / "snapshots" / ("0" * 40)


@pytest.mark.slow
@needs_library
def test_fense_runs_where_its_weights_are_and_asks_no_network(monkeypatch, tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    random_bert(tmp_path / "bert")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("FENSE_DATA", str(tmp_path))
    sentences = SentenceTransformer(modules=[Transformer(str(tmp_path / "bert")), Pooling(16)], device="cpu")
    sentences.save(str(in_hub_cache(tmp_path, captioning.SENTENCE_MODEL)))
    encoder = random_bert(in_hub_cache(tmp_path, "toy/bert"))
    tensors = {f"encoder.{name}": tensor for name, tensor in encoder.state_dict().items()}
    tensors["encoder.embeddings.position_ids"] = torch.arange(512)[None]
    tensors |= {"clf.weight": torch.zeros(6, 16), "clf.bias": torch.full((6,), 5.0)}  # every caption has an error
    published = {"model_type": "toy/bert", "num_classes": 6, "state_dict": tensors}
    torch.save(published, tmp_path / f"{captioning.FLUENCY_MODEL}.ckpt")

    corpus, per_clip, missing = score_captions(CANDIDATES, REFERENCES, ["fense", "fer"])
    assert not missing and corpus["fer"] == 1 and set(per_clip) == {"fense", "fer"}
    plain, of_clips = tokenised(CANDIDATES, REFERENCES)
    rows = [sentences.encode(texts, normalize_embeddings=True) for texts in ([plain[0]], of_clips[0])]
    assert per_clip["fense"][0] == pytest.approx(0.1 * float((rows[0] @ rows[1].T).mean()), abs=1e-5)


@needs_library
def test_a_broken_file_is_a_reason_and_no_traceback(monkeypatch, tmp_path):
    (tmp_path / f"{captioning.FLUENCY_MODEL}.ckpt").write_bytes(b"not weights")
    monkeypatch.setenv("FENSE_DATA", str(tmp_path))
    corpus, _, missing = score_captions(CANDIDATES, REFERENCES, ["fer", "bleu_1"])
    assert corpus["fer"] is None and corpus["bleu_1"] > 0 and missing["fer"].startswith("failed: ")

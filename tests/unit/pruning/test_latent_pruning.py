"""Pruned students leave as graphs, released networks can be pruned, and the report says what is so."""

import json

import pytest
import torch
from published_reference import STUDENTS, student_state_dict
from test_pruned_head import small_student

from tests import tiny
from tinyclap.checkpoints.state import load_student, save_folder
from tinyclap.errors import ConfigError
from tinyclap.pruning.exactness import difference
from tinyclap.pruning.prune import PruneOptions, open_model, prune, summary

SMALL = "phinet_alpha_0.75_beta_0.75_t0_4_N_5"


def write_ranking(folder, n_dims, sha256=None, order=None):
    """A ranking's folder, without moments."""
    folder.mkdir()
    record = {
        "format": 1,
        "ranking": "mean_abs",
        "order": list(reversed(range(n_dims))) if order is None else order,
        "importance": [1.0] * n_dims,
        "n_clips": 3,
        "corpora": [],
        "model": {"kind": "checkpoint", "weights": "", "weights_sha256": sha256},
    }
    (folder / "ranking.json").write_text(json.dumps(record))
    return folder


def test_a_released_student_is_pruned_into_a_folder_that_knows_its_text_side(tmp_path):
    torch.save(student_state_dict(SMALL), tmp_path / "student_model.ckpt")
    model, note = open_model("tinyclap-student", tmp_path / "student_model.ckpt", "CLAP.pth", STUDENTS[SMALL])
    assert note["text_side"] == {"kind": "msclap2022", "weights": "CLAP.pth", "tokenizer": "bert-base-uncased"}
    ranking = write_ranking(tmp_path / "ranking", 1024, note["weights_sha256"])
    report = prune(model, note, ranking, tmp_path / "small", PruneOptions(dim=100, statistic_rows=None))
    assert report["difference"]["max_abs"] < 1e-5 and report["exact"] and report["n_statistic_rows"] == 0
    student, config = load_student(tmp_path / "small")
    assert student.embed_dim == 100 and config["latent"]["kept"][:2] == [1023, 1022]
    assert config["text_side"] == note["text_side"] and config["pruned_from_sha256"] == note["weights_sha256"]
    shown = summary("small", report)
    assert "all 1024 rows are computed" in shown and "on 8 windows of noise" in shown


def test_a_folded_student_takes_the_ranking_of_the_one_it_was(tmp_path):
    save_folder(tiny.student(), tmp_path / "run" / "student")
    model, note = open_model(tmp_path / "run")
    ranking = write_ranking(tmp_path / "ranking", 16, note["weights_sha256"])
    save_folder(model.fold(), tmp_path / "folded", {"folded_from_sha256": note["weights_sha256"]})
    folded, note = open_model(tmp_path / "folded")
    report = prune(folded, note, ranking, tmp_path / "small", PruneOptions(kept_fraction=0.25))
    assert (
        report["kept_dims"] == 4 and report["folded"] and report["how"] == "exact: every dimension has rows of its own"
    )
    assert report["difference"]["max_abs"] < 1e-6
    assert report["before"]["n_parameters"] - report["after"]["n_parameters"] == 12 * model.projection.d_in


def test_a_ranking_of_another_width_is_refused(tmp_path):
    save_folder(tiny.student(), tmp_path / "run" / "student")
    model, note = open_model(tmp_path / "run")
    with pytest.raises(ConfigError, match="a ranking of 8 dimensions for embeddings of 16"):
        prune(model, note, write_ranking(tmp_path / "ranking", 8), tmp_path / "small", PruneOptions(dim=4))
    assert not (tmp_path / "small").exists()


def test_the_difference_is_nothing_for_the_student_itself_and_much_for_another_order():
    student = tiny.student()
    clips = [(torch.randn(24000, generator=torch.Generator().manual_seed(0)) * 0.1, 16000)]
    kept = [3, 1, 8]
    same = difference(student, student.keep_dims(kept), kept, clips, "noise")
    assert same["max_abs"] < 1e-6 and same["n_windows"] == 2 and same["cosine_min"] == pytest.approx(1)
    other = difference(student, student.keep_dims([1, 3, 8]), kept, clips, "noise")
    assert other["max_abs"] > 0.01 and other["cosine_min"] < 0.999


def test_a_pruned_clap_head_leaves_as_a_graph(tmp_path):
    pytest.importorskip("onnx", reason="exporting is an extra: pip install 'tinyclap[export]'")
    ort = pytest.importorskip("onnxruntime", reason="running is an extra: pip install 'tinyclap[runtime]'")
    from tinyclap.export.onnx_graphs import export_graph

    moments = {
        "pre_norm_second_moment": torch.eye(20) + 0.5,
        "hidden_mean": torch.ones(20),
        "hidden_std": torch.rand(20),
    }
    head = small_student().projection.keep_dims([4, 1, 9], moments, 5, 0.5)
    path = export_graph(head, (torch.zeros(2, 24),), ["features"], ["rows"], {"features": {0: "batch"}}, tmp_path / "h")
    features = torch.randn(5, 24)
    ours = ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"features": features.numpy()})[0]
    torch.testing.assert_close(torch.from_numpy(ours), head(features).detach())


def test_an_export_takes_the_first_dimensions_of_both_sides(tmp_path):
    from tinyclap.export.sources import class_vectors, open_source

    order = list(reversed(range(16)))
    latent = {"order": order, "ranking": "mean_abs", "n_clips": 1, "corpora": []}
    save_folder(tiny.clap(), tmp_path / "clap" / "student", {"latent": latent})
    source, whole = open_source(tmp_path / "clap", dim=5), open_source(tmp_path / "clap")
    assert source.student.embed_dim == 5 and source.provenance["latent"]["kept"] == order[:5]
    rows, kind = class_vectors(source, ["dog", "rain"])
    wanted = torch.nn.functional.normalize(class_vectors(whole, ["dog", "rain"])[0][:, order[:5]], dim=-1)
    torch.testing.assert_close(rows, wanted)
    assert kind == "cosine"
    tags = [f"tag {index}" for index in range(16)]
    side = {"kind": "tag_space", "labels": tags, "prior": None}
    save_folder(tiny.student(output="sigmoid"), tmp_path / "tags" / "student", {"text_side": side, "latent": latent})
    assert open_source(tmp_path / "tags", dim=2).tags == ["tag 15", "tag 14"]
    assert open_source(tmp_path / "tags").tags == tags
    with pytest.raises(ConfigError, match="not for a published network"):
        open_source("efficientat-mn", path="mn04.pt", dim=5)

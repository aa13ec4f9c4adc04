"""Exported folders: whole or not at all, honest about what they lose, and refused where they lose too much."""

import json
import shutil

import numpy as np
import pytest

pytest.importorskip("onnx", reason="exporting is an extra: pip install 'tinyclap[export]'")
pytest.importorskip("onnxruntime", reason="running is an extra: pip install 'tinyclap[runtime]'")

import onnx  # noqa: E402

from tests.unit.small_export import LABELS, exported, recordings, run  # noqa: E402
from tinyclap.checkpoints.folder import new_folder  # noqa: E402
from tinyclap.checkpoints.state import load_student  # noqa: E402
from tinyclap.errors import CheckpointError, ConfigError, ManifestError  # noqa: E402
from tinyclap.export.front_end import front_end_nodes  # noqa: E402
from tinyclap.export.latency import best_precisions  # noqa: E402
from tinyclap.export.parity import compare, decisions, golden_clips, refuse  # noqa: E402
from tinyclap.export.quantise import quantise  # noqa: E402
from tinyclap.export.sources import open_source  # noqa: E402
from tinyclap.export.write import ExportOptions, export_model, summary  # noqa: E402
from tinyclap.metrics.recordings import find_recordings, sample  # noqa: E402


def test_the_folder_says_what_it_is_and_where_it_is_from():
    folder, _, _ = exported()
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    _, checkpoint = load_student(run())
    assert config["kind"] == "audio_encoder" and config["sample_rate_hz"] == 16000 and config["embed_dim"] == 16
    assert config["window"] == {"window_s": 1.0, "short": "tile", "hop_s": None, "min_s": 1.0}
    assert config["outputs"] == {"embedding": {"normalise": True}} and config["score"] == "cosine"
    assert config["provenance"]["weights_sha256"] == checkpoint["weights_sha256"]
    assert set(config["files"]) == {
        "model.onnx",
        "model.int8.onnx",
        "front_end.onnx",
        "labels.json",
        "label_vectors.npz",
        "golden.npz",
        "text.onnx",
    }
    assert json.loads((folder / "labels.json").read_text())["labels"] == LABELS
    with np.load(folder / "label_vectors.npz") as content:
        np.testing.assert_allclose(np.linalg.norm(content["vectors"], axis=1), np.ones(3), atol=1e-5)


def test_the_reports_cover_every_precision_and_every_clip():
    folder, _, done = exported()
    parity = json.loads((folder / "parity.json").read_text())
    assert parity == done["parity"] and set(parity) - {"bf16"} == {"fp32", "int8"}
    exact, rounded = (parity[name]["recordings"]["recordings"] for name in ("fp32", "int8"))
    assert exact["n_clips"] == len(exact["embedding"]["cosine"]["by_clip"]) == 6
    assert exact["embedding"]["relative"] < 1e-4 and exact["decisions"] == {"agreement": 1.0}
    assert 1e-4 < rounded["embedding"]["relative"] < 0.5
    rows = json.loads((folder / "latency.json").read_text())["rows"]
    assert {(row["engine"], row["precision"]) for row in rows} >= {("onnxruntime", "fp32"), ("onnxruntime", "int8")}
    assert all(0 < row["least_ms"] <= row["median_ms"] <= row["greatest_ms"] for row in rows)
    assert "int8 on recordings (6 clips): cosine 0.9" in summary(folder, done)


def test_only_the_encoder_s_convolutions_are_eight_bit():
    folder, _, _ = exported()
    nodes = onnx.load(folder / "model.int8.onnx").graph
    made_by = {name: node.op_type for node in nodes.node for name in node.output}
    front_end = set(front_end_nodes(nodes))
    encoder = [node for node in nodes.node if node.op_type == "Conv" and node.name not in front_end]
    assert len(encoder) >= 6
    assert all(made_by[node.input[0]] == made_by[node.input[1]] == "DequantizeLinear" for node in encoder)
    assert not any(
        made_by.get(name) == "DequantizeLinear" for node in nodes.node if node.name in front_end for name in node.input
    )


def test_int8_that_loses_too_much_leaves_nothing_behind(tmp_path):
    source = open_source(run())
    options = ExportOptions(
        precisions=["fp32", "int8"], calibration_audio=str(recordings()), n_calibration=3, min_cosine=0.9999999
    )
    with pytest.raises(ConfigError, match="int8 is refused, nothing was written.*mean cosine"):
        export_model(source, tmp_path / "exported", options)
    assert list(tmp_path.iterdir()) == []


def report(cosine, **said):
    """A report of one set of clips."""
    return {"toy": {"embedding": {"cosine": {"mean": cosine}}, "decisions": said}}


def test_what_is_lost_is_measured_in_points_or_in_changed_decisions():
    refuse("int8", report(0.99, agreement=0.9, accuracy=0.8, accuracy_drop_points=1.0), 1.0, 0.95)
    refuse("int8", report(0.99, agreement=0.995), 1.0, 0.95)
    with pytest.raises(ConfigError, match="accuracy falls by 1.50 points, allowed are 1"):
        refuse("int8", report(0.99, agreement=1.0, accuracy=0.8, accuracy_drop_points=1.5), 1.0, 0.95)
    with pytest.raises(ConfigError, match="decisions change by 2.00 points"):
        refuse("int8", report(0.99, agreement=0.98), 1.0, 0.95)


def test_differences_and_decisions_by_hand():
    found, reference = np.array([[3.0, 4.0], [0.0, 2.0]]), np.array([[3.0, 4.0], [2.0, 0.0]])
    said = compare(found, reference)
    assert said["max_abs"] == 2.0 and said["cosine"] == {"mean": 0.5, "min": 0.0, "by_clip": [1.0, 0.0]}
    assert said["relative"] == pytest.approx((8 / 29) ** 0.5)
    said = decisions(found, reference, classes=["dog", "rain"], labels=["rain", "rain"])
    assert said == {"agreement": 0.5, "accuracy": 1.0, "reference_accuracy": 0.5, "accuracy_drop_points": -50.0}


def test_int8_without_real_clips_is_refused(tmp_path):
    source = open_source(run())
    with pytest.raises(ConfigError, match="give --calibration_audio"):
        export_model(source, tmp_path / "a", ExportOptions(precisions=["fp32", "int8"]))
    used_up = ExportOptions(precisions=["fp32", "int8"], calibration_audio=str(recordings()), n_calibration=6)
    with pytest.raises(ConfigError, match="all 6 recordings .* are used up"):
        export_model(source, tmp_path / "a", used_up)
    with pytest.raises(ConfigError, match="calibrate on"):
        quantise("any.onnx", tmp_path / "b.onnx", [])
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_no_export_is_left_alone_and_an_export_is_replaced(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("text")
    with pytest.raises(ConfigError, match="no earlier model"), new_folder(tmp_path / "mine"):
        pass
    old = tmp_path / "old"
    shutil.copytree(exported()[0], old)
    (old / "notes.txt").write_text("mine")
    (old / "banks").mkdir()
    (old / "banks" / "mine.npz").write_text("mine")
    with pytest.raises(RuntimeError, match="killed"), new_folder(old):
        raise RuntimeError("killed")
    assert (old / "config.json").exists() and sorted(path.name for path in tmp_path.iterdir()) == ["mine", "old"]
    with new_folder(old) as folder:
        (folder / "new.txt").write_text("new")
    left = sorted(path.relative_to(old).as_posix() for path in old.rglob("*") if path.is_file())
    assert left == ["banks/mine.npz", "new.txt", "notes.txt"], "the user's files stay, those of the earlier export go"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "old"]


def test_recordings_come_from_a_folder_or_a_manifest_and_are_split_without_overlap(tmp_path):
    found = find_recordings(str(recordings()))
    assert (found.name, len(found.paths), found.labels) == ("recordings", 6, [])
    some, rest = sample(found, 4, seed=1)
    assert len(some.paths) == 4 and sorted([*some.paths, *rest.paths]) == found.paths
    with pytest.raises(ConfigError, match="no recordings"):
        find_recordings(str(tmp_path))
    with pytest.raises(ConfigError, match="say where the corpus"):
        find_recordings("esc50_test.json")
    with pytest.raises(ManifestError, match="none.json"):
        find_recordings(f"{tmp_path}/none.json@{tmp_path}")


def test_golden_clips_use_another_rate_two_channels_and_more_than_a_window():
    (own, own_hz), (stereo, stereo_hz), (long, long_hz) = golden_clips(16000, 1.0)
    assert own_hz == 16000 != stereo_hz and stereo.shape[0] == 2 and len(long) / long_hz > 2.0 > len(own) / own_hz
    assert np.array_equal(golden_clips(16000, 1.0)[2][0], long)


def test_int8_is_called_best_only_where_it_is_clearly_faster():
    def rows(fp32_ms, int8_ms):
        given = {"fp32": fp32_ms, "int8": int8_ms}
        return {"rows": [{"engine": "openvino", "precision": key, "median_ms": ms} for key, ms in given.items()]}

    assert best_precisions(rows(10, 5), ["fp32", "int8"]) == {"onnxruntime": "fp32", "openvino": "int8"}
    assert best_precisions(rows(10, 9.5), ["fp32", "int8"])["openvino"] == "fp32"
    assert best_precisions(rows(10, 5), ["fp32"])["openvino"] == "fp32"


def test_a_published_network_needs_its_file_and_a_run_none():
    with pytest.raises(ConfigError, match="give their file by --path"):
        open_source("efficientat-mn")
    with pytest.raises(ConfigError, match="--path belongs to a published network"):
        open_source(run(), path="weights.pt")
    with pytest.raises(CheckpointError, match="no model there"):
        open_source("nowhere")

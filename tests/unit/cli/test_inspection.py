"""What is said of models, weights, banks and indices is what they are."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

onnx = pytest.importorskip("onnx", reason="exporting is an extra: pip install 'tinyclap[export]'")
pytest.importorskip("onnxruntime", reason="running is an extra: pip install 'tinyclap[runtime]'")

from tests import tiny  # noqa: E402
from tests.conftest import ROOT  # noqa: E402
from tests.unit.small_export import exported, run, tag_space_run  # noqa: E402
from tinyclap.checkpoints.state import load_student  # noqa: E402
from tinyclap.checkpoints.weight_files import read_shapes, summary  # noqa: E402
from tinyclap.cli.inspection import inspect_source  # noqa: E402
from tinyclap.config.shipped import DEFAULT_MODEL, shipped_folder, shipped_names  # noqa: E402
from tinyclap.errors import CheckpointError  # noqa: E402
from tinyclap.export.cost import count_macs, graph_costs  # noqa: E402
from tinyclap.export.cost import count_parameters as count_numbers  # noqa: E402
from tinyclap.files import read_json  # noqa: E402
from tinyclap.metrics.cost import count_parameters  # noqa: E402
from tinyclap.published.table import recognise  # noqa: E402

KEYS = json.loads((ROOT / "tests/reference/published_keys.json").read_text())


# ------------------------------------------------------------------------------------------------- graphs


def small_graph(path):
    """A convolution of 4 filters of 3 × 1 × 5 values, a product with 4 × 7, and a constant of 6 numbers."""
    helper, f32 = onnx.helper, onnx.TensorProto.FLOAT
    tensors = {"filters": (4, 3, 1, 5), "columns": (4, 7)}
    stored = [onnx.numpy_helper.from_array(np.ones(shape, np.float32), name) for name, shape in tensors.items()]
    constant = onnx.numpy_helper.from_array(np.zeros((2, 3), np.float32), "six")
    nodes = [
        helper.make_node("Constant", [], ["six"], value=constant),
        helper.make_node("Conv", ["x", "filters"], ["maps"]),
        helper.make_node("ReduceMean", ["maps"], ["means"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["means", "columns"], ["y"]),
    ]
    inputs = [helper.make_tensor_value_info("x", f32, [1, 3, 2, "T"])]
    outputs = [helper.make_tensor_value_info("y", f32, [1, 7]), helper.make_tensor_value_info("six", f32, [2, 3])]
    graph = helper.make_graph(nodes, "small", inputs, outputs, stored)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def test_numbers_and_macs_of_a_graph_are_those_worked_out_by_hand(tmp_path):
    path = small_graph(tmp_path / "small.onnx")
    assert count_numbers(path) == 4 * 3 * 5 + 4 * 7 + 6
    # 4 maps of 2 rows and 9 - 5 + 1 columns, each value of 3 × 5 products; then 4 × 7
    assert count_macs(path, {"x": np.zeros((1, 3, 2, 9), np.float32)}) == 4 * 2 * 5 * 15 + 28


@pytest.mark.parametrize("name", shipped_names())
def test_the_shipped_configs_state_what_their_graphs_cost(name):
    config = read_json(shipped_folder(name) / "config.json")
    assert graph_costs(shipped_folder(name), config["graphs"], config["sample_rate_hz"]) == config["cost"]


def test_macs_of_the_shipped_graph_are_the_networks_and_its_transforms():
    cost = read_json(shipped_folder(DEFAULT_MODEL) / "config.json")["cost"]
    # what tinyclap.metrics.cost counts of the same network's convolutions and linear layers, in torch
    assert cost["n_macs"] - cost["n_macs_front_end"] == 20_453_710


def test_an_earlier_export_does_not_state_its_cost(tmp_path):
    folder = shutil.copytree(exported()[0], tmp_path / "earlier")
    config = read_json(folder / "config.json")
    del config["cost"]
    (folder / "config.json").write_text(json.dumps(config))
    assert inspect_source(folder)["parameters"].startswith("not stated")


@pytest.mark.parametrize("n_bytes", [0, 10, 1000])
def test_a_graph_that_was_cut_short_is_refused(tmp_path, n_bytes):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes((shipped_folder(DEFAULT_MODEL) / "model.onnx").read_bytes()[:n_bytes])
    with pytest.raises(CheckpointError, match="broken.onnx"):
        inspect_source(broken)


# ------------------------------------------------------------------------------------------------ weights


@pytest.mark.parametrize(
    ("parts", "name"),
    [
        (
            {"audio_encoder.": "msclap2022.audio_encoder", "caption_encoder.base.": "msclap2022.caption_encoder.base"},
            "msclap2022",
        ),
        ({"": "student.phinet_alpha_1.50_beta_0.75_t0_6_N_7"}, "tinyclap-student"),
        ({"": "effb2_trm_captioner"}, "effb2-trm"),
        (
            {"encoder.audio_enc.": "wavcaps_htsat_bart.encoder.audio_enc", "decoder.": "wavcaps_htsat_bart.decoder"},
            "wavcaps-htsat-bart",
        ),
    ],
)
def test_published_weights_are_known_by_the_names_in_them(parts, name):
    names = [f"{before}{key}" for before, which in parts.items() for key in KEYS[which]]
    assert recognise(names)["name"] == name
    assert recognise([f"module.{key}" for key in names])["name"] == name


def test_our_own_tensors_are_nobody_elses():
    network, _ = load_student(run())
    assert recognise(network.state_dict()) is None


def test_a_published_file_says_how_it_is_opened(shared_dir):
    found = inspect_source(shared_dir / "data/weights/efficientat_mn04/mn04_as_mAP_432.pt")
    assert found["licence"] == "MIT" and "efficientat-mn" in found["opens with"]
    assert found["n_parameters"] == 983_599


def test_a_safetensors_file_is_read_by_its_header_and_agrees_with_its_tensors(tmp_path):
    path = run() / "student" / "model.safetensors"
    network, _ = load_student(run())
    tensors = network.state_dict()
    shapes = read_shapes(path)
    assert {name: shape for name, (shape, _) in shapes.items()} == {name: list(t.shape) for name, t in tensors.items()}
    assert summary(shapes)["n_numbers"] == sum(tensor.numel() for tensor in tensors.values())
    cut = tmp_path / "cut.safetensors"
    for n_bytes in (0, 4, 200, path.stat().st_size - 1):
        cut.write_bytes(path.read_bytes()[:n_bytes])
        with pytest.raises(CheckpointError, match="cut short"):
            inspect_source(cut)


def test_a_pickle_that_would_run_something_is_refused_and_does_not_run(tmp_path):
    class Runs:
        def __reduce__(self):
            return open, (str(tmp_path / "it_ran"), "w")

    torch.save({"a": Runs()}, tmp_path / "evil.pth")
    with pytest.raises(CheckpointError):
        inspect_source(tmp_path / "evil.pth")
    assert not (tmp_path / "it_ran").exists()


# ------------------------------------------------------------------------------------------------- folders


def test_a_run_and_its_export_are_told_apart_and_agree():
    of_run, of_export = inspect_source(run()), inspect_source(exported()[0])
    assert (of_run["is"], of_export["is"]) == ("run", "exported audio encoder")
    network, _ = load_student(run())
    assert of_run["n_parameters on the audio side"] == count_parameters(network.audio)
    assert of_run["sample rate"] == of_export["sample rate"] == f"{tiny.SAMPLE_RATE_HZ} Hz"
    assert of_export["labels"] == "3 compiled in" and of_export["encoder"] == "PhiNet"
    silence = np.zeros((1, 5 * tiny.SAMPLE_RATE_HZ), np.float32)
    front_end = count_macs(exported()[0] / "front_end.onnx", {"wavs": silence})
    assert of_export["of them in the front end's transform"] == front_end > 0


def test_tags_and_text_sides_are_said():
    assert inspect_source(DEFAULT_MODEL, count_macs=False)["labels"].endswith(", 527 tags")
    assert inspect_source(tag_space_run(), count_macs=False)["text side"]["kind"] == "tag_space"


def test_a_ready_bank_says_its_labels_and_its_model():
    found = inspect_source(shipped_folder(DEFAULT_MODEL) / "banks" / "esc50.npz")
    assert (found["is"], found["n_labels"], found["model"]) == ("label bank", 50, DEFAULT_MODEL)
    assert "dog" in found["labels"] and found["embed_dim"] == 527


def test_a_search_index_says_how_many_recordings_it_has(tmp_path):
    from tests.unit.small_export import recordings
    from tinyclap import from_pretrained
    from tinyclap.search.index import SearchIndex

    SearchIndex.build(tmp_path / "index", from_pretrained(), [recordings()])
    found = inspect_source(tmp_path / "index")
    assert (found["is"], found["n_recordings"], found["n_skipped"]) == ("search index", 6, 0)


def test_scores_of_a_run_are_said_with_interval_and_number_of_clips(tmp_path):
    shutil.copytree(run(), tmp_path / "run")
    score = {"dataset": "esc50", "metric": "top-1", "value": 0.5, "n_items": 40, "interval_95": [0.4, 0.6]}
    (tmp_path / "run" / "metrics.json").write_text(json.dumps(score))
    found = inspect_source(tmp_path / "run", count_macs=False)
    assert found["scores"] == ["esc50: top-1 0.5000 [0.4000, 0.6000], n=40"]


@pytest.mark.parametrize("name", ["scores.json", "parity.json", "latency.json"])
@pytest.mark.parametrize("text", ["", "{", "[1]", '{"rows": [1]}', '[{"dataset": 1}]', "null", '"x"'])
def test_a_damaged_report_is_named(tmp_path, name, text):
    shutil.copytree(exported()[0], tmp_path / "exported", dirs_exist_ok=True)
    (tmp_path / "exported" / name).write_text(text)
    try:
        inspect_source(tmp_path / "exported", count_macs=False)
    except CheckpointError as error:
        assert name in str(error)


def test_a_changed_file_is_refused(tmp_path):
    shutil.copytree(exported()[0], tmp_path / "exported")
    with open(tmp_path / "exported" / "labels.json", "a") as stream:
        stream.write(" ")
    with pytest.raises(CheckpointError, match="labels.json"):
        inspect_source(tmp_path / "exported")


def test_the_shipped_model_is_inspected_without_torch():
    code = (
        f"import sys, tinyclap.cli.inspection as i; i.inspect_source({DEFAULT_MODEL!r}); print(' '.join(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {"torch", "onnx", "onnxruntime", "safetensors", "transformers", "pandas"}


@pytest.mark.parametrize("name", ["nowhere", "nothing.txt"])
def test_what_is_nothing_of_ours_is_said_to_be(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nothing.txt").write_text("x")
    with pytest.raises(CheckpointError, match=name):
        inspect_source(name)

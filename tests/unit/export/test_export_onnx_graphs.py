"""Graphs are self-contained, of any length, and say what is wrong before a long export."""

import numpy as np
import pytest
import torch

from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.export.onnx_graphs import OPSET, export_graph

onnx = pytest.importorskip("onnx", reason="exporting is an extra: pip install 'tinyclap[export]'")
pytest.importorskip("onnxscript", reason="exporting is an extra: pip install 'tinyclap[export]'")
pytest.importorskip("onnxruntime", reason="running is an extra: pip install 'tinyclap[runtime]'")

from tinyclap.runtime.session import open_session  # noqa: E402


class Pair(torch.nn.Module):
    """Two inputs, two outputs, and a dropout that must be off."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.dropout = torch.nn.Linear(3, 2), torch.nn.Dropout(0.5)

    def forward(self, rows, shift):
        return self.dropout(self.linear(rows)) + shift, rows.sum(0)


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    module = Pair().train()
    path = tmp_path_factory.mktemp("graph") / "deeper" / "pair.onnx"
    inputs, names = (torch.zeros(4, 3), torch.zeros(2)), (["rows", "shift"], ["moved", "sum"])
    assert export_graph(module, inputs, *names, {"rows": {0: "batch"}}, path) == path
    return path, module


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_a_graph_gives_what_the_module_gives_for_any_batch(graph, engine):
    pytest.importorskip(engine, reason=f"{engine} is an extra")
    path, module = graph
    session = open_session(path, engine, n_threads=1)
    assert (session.input_names, session.output_names) == (["rows", "shift"], ["moved", "sum"])
    for n_rows in (1, 4, 7):
        rows, shift = torch.randn(n_rows, 3), torch.randn(2)
        ours = session.run({"rows": rows.numpy(), "shift": shift.numpy()})
        for mine, theirs in zip(ours, module.eval()(rows, shift), strict=True):
            np.testing.assert_allclose(mine, theirs.detach().numpy(), atol=1e-6)


def test_a_file_stands_alone_and_tells_nothing_of_the_machine(graph):
    path, _ = graph
    assert [file.name for file in path.parent.iterdir()] == ["pair.onnx"]
    model = onnx.load(path)
    assert [entry.version for entry in model.opset_import if entry.domain == ""] == [OPSET]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert b"test_export_onnx_graphs" not in path.read_bytes() and b"site-packages" not in path.read_bytes()


@pytest.mark.parametrize(
    ("inputs", "dynamic", "message"),
    [
        ((torch.zeros(4, 3),), {}, "1 example inputs"),
        ((torch.zeros(1, 3), torch.zeros(2)), {"rows": {0: "batch"}}, "length 1 or 0"),
        ((torch.zeros(4, 3), torch.zeros(2)), {"row": {0: "batch"}}, "dynamic names row"),
    ],
)
def test_what_cannot_be_exported_is_refused_before_the_export(tmp_path, inputs, dynamic, message):
    with pytest.raises(ConfigError, match=message):
        export_graph(Pair(), inputs, ["rows", "shift"], ["moved", "sum"], dynamic, tmp_path / "pair.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "tensorrt"}, "engine 'tensorrt'"),
        ({"precision": "fp8"}, "precision 'fp8'"),
        ({"n_threads": 0}, "n_threads"),
        ({"precision": "bf16"}, "onnxruntime has no bf16"),
    ],
)
def test_a_session_that_cannot_be_is_refused(graph, options, message):
    with pytest.raises(ConfigError, match=message):
        open_session(graph[0], **options)


def test_a_missing_graph_and_a_broken_one_are_named(tmp_path):
    with pytest.raises(CheckpointError, match="no such graph"):
        open_session(tmp_path / "none.onnx")
    (tmp_path / "broken.onnx").write_bytes(b"not a graph")
    for engine in ("onnxruntime", "openvino"):
        pytest.importorskip(engine, reason=f"{engine} is an extra")
        with pytest.raises(CheckpointError, match="broken.onnx.*refuses"):
            open_session(tmp_path / "broken.onnx", engine).run({})  # a graph opens when it is first used

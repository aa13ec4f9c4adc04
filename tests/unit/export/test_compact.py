"""Weights stored as int8 keep what a graph computes, in whatever engine, at a quarter of the bytes."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="exporting is an extra: pip install 'tinyclap[export]'")
pytest.importorskip("onnxruntime", reason="running is an extra: pip install 'tinyclap[runtime]'")

from tinyclap.export.compact import compact_graph, quantised  # noqa: E402
from tinyclap.runtime.session import open_session  # noqa: E402

WIDTH, N_ROWS = 64, 100


def weight(name, *shape):
    generator = np.random.default_rng(sum(name.encode()))
    return onnx.numpy_helper.from_array(generator.standard_normal(shape).astype(np.float32), name)


@pytest.fixture
def graph(tmp_path):
    """A graph with a weight in every place that is known; the table is a product's weight, too."""
    make, kinds = onnx.helper.make_node, onnx.TensorProto
    nodes = [
        make("Gather", ["table", "ids"], ["rows"], axis=0),
        make("MatMul", ["rows", "square"], ["one"]),
        make("Gemm", ["one", "gemm"], ["two"], transB=1),
        make("Split", ["both", "halves"], ["first", "second"], axis=0),
        make("MatMul", ["two", "first"], ["three"]),
        make("Transpose", ["table"], ["turned"], perm=[1, 0]),
        make("MatMul", ["three", "turned"], ["scores"]),
        make("Unsqueeze", ["scores", "axes"], ["image"]),
        make("Conv", ["image", "filters"], ["out"], pads=[1, 1]),
        make("Add", ["three", "offsets"], ["kept"]),
    ]
    weights = [
        *(weight("table", N_ROWS, WIDTH), weight("square", WIDTH, WIDTH), weight("gemm", WIDTH, WIDTH)),
        *(weight("both", 2 * WIDTH, WIDTH), weight("filters", 48, N_ROWS, 3), weight("offsets", 1, WIDTH)),
        onnx.numpy_helper.from_array(np.array([WIDTH, WIDTH]), "halves"),
        onnx.numpy_helper.from_array(np.array([2]), "axes"),
    ]
    values = onnx.helper.make_tensor_value_info
    made = onnx.helper.make_graph(
        nodes,
        "small",
        [values("ids", kinds.INT64, ["n"])],
        [values("out", kinds.FLOAT, ["n", 48, 1]), values("kept", kinds.FLOAT, ["n", WIDTH])],
        weights,
    )
    path = tmp_path / "graph.onnx"
    onnx.save_model(onnx.helper.make_model(made, ir_version=10, opset_imports=[onnx.helper.make_opsetid("", 18)]), path)
    return path


def test_every_large_weight_is_stored_as_int8_and_the_outputs_stay(graph, tmp_path):
    target = tmp_path / "compact.onnx"
    done = compact_graph(graph, target)
    stored = {each.name: each.data_type for each in onnx.load(target).graph.initializer}
    assert done["n_weights"] == 5 and done["bytes_after"] < 0.3 * done["bytes_before"]
    assert {name for name, kind in stored.items() if kind == onnx.TensorProto.INT8} == {
        f"{name}_int8" for name in ("table", "square", "gemm", "both", "filters")
    }
    assert stored["offsets"] == onnx.TensorProto.FLOAT
    feeds = {"ids": np.array([3, 7, 99])}
    for level in ("basic", "unpacked"):
        for found, wanted in zip(
            open_session(target, level=level).run(feeds), open_session(graph).run(feeds), strict=True
        ):
            error = np.linalg.norm(found - wanted) / np.linalg.norm(wanted)
            assert 1e-5 < error < 0.03


def test_openvino_reads_the_compact_graph_too(graph, tmp_path):
    pytest.importorskip("openvino", reason="another engine, an extra")
    compact_graph(graph, tmp_path / "compact.onnx")
    feeds = {"ids": np.array([3, 7])}
    theirs = open_session(tmp_path / "compact.onnx", "openvino", n_threads=1).run(feeds)
    ours = open_session(tmp_path / "compact.onnx", level="basic").run(feeds)
    np.testing.assert_allclose(theirs[1], ours[1], rtol=1e-3, atol=1e-2)


def test_what_is_to_be_kept_is_kept_and_small_weights_are(graph):
    before = graph.stat().st_size
    assert compact_graph(graph, graph, min_size=10**6)["n_weights"] == 0
    done = compact_graph(graph, graph, keep=["table"])
    names = {each.name for each in onnx.load(graph).graph.initializer}
    assert done["n_weights"] == 4 and "table" in names and "table_int8" not in names and done["bytes_after"] < before


def test_every_channel_has_its_own_scale():
    given = np.array([[1.0, 0.001], [-0.5, 0.0005]], np.float32)
    values, scales = quantised(given, axis=1)
    np.testing.assert_allclose(values * scales, given, atol=0.5 * scales.max())
    np.testing.assert_allclose((values * scales)[:, 1], given[:, 1], rtol=0.01)
    assert values.dtype == np.int8 and scales.shape == (2,)

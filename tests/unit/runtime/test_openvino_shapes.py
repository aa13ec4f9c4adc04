"""OpenVINO compiles a graph once more for shapes that keep coming, and the numbers do not show it."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from tinyclap.export.onnx_graphs import export_graph
from tinyclap.runtime.session import open_session

pytest.importorskip("openvino", reason="openvino is an extra")
pytest.importorskip("onnxscript", reason="the exporter needs it")


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv1d(1, 8, 5), torch.nn.ReLU(), torch.nn.Conv1d(8, 3, 3)).eval()
    path = tmp_path_factory.mktemp("graph") / "network.onnx"
    axes = {"wavs": {0: "batch", 2: "samples"}}
    return export_graph(network, (torch.randn(2, 1, 50),), ["wavs"], ["out"], axes, path)


def test_any_number_of_calls_of_any_shapes_gives_one_result(graph):
    with_openvino, with_onnxruntime = (open_session(graph, engine, "fp32", 1) for engine in ("openvino", "onnxruntime"))
    random = np.random.default_rng(0)
    for n_samples in [40, 41, 42, 43, 44, 45, 40]:
        feeds = {"wavs": random.standard_normal((2, 1, n_samples)).astype(np.float32)}
        expected = with_onnxruntime.run(feeds)[0]
        for _ in range(6):
            np.testing.assert_allclose(with_openvino.run(feeds)[0], expected, atol=1e-5)
    shaped = with_openvino._opened()._graphs[-1]
    assert len(shaped._of_shape) == shaped.n_kept, "as many shapes are kept as may be, and no more"


def test_what_is_counted_stays_bounded(graph):
    session = open_session(graph, "openvino", "fp32", 1)
    shaped = session._opened()._graphs[-1]
    shaped.n_counted = 5
    for n_samples in range(20, 40):
        session.run({"wavs": np.zeros((1, 1, n_samples), np.float32)})
    assert len(shaped._n_calls) <= 6 and not shaped._of_shape


def test_sessions_that_go_in_the_order_they_came_leave_the_signal_stack_whole(graph):
    # OpenVINO's cores each set a signal stack; a torch loader's workers bring a handler for a child's end
    code = (
        "import signal, subprocess, sys\n"
        "from tinyclap.runtime.session import open_session\n"
        "signal.signal(signal.SIGCHLD, lambda *_: None)\n"
        "first, second = (open_session(sys.argv[1], 'openvino', 'fp32', 1) for _ in range(2))\n"
        "del first\n"
        "del second\n"
        "subprocess.run([sys.executable, '-c', ''], check=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(graph)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

"""Graphs in both engines: the same numbers from any thread, nothing sent, and refusals in one line."""

import os
import pickle
import re
import subprocess
import sys
import threading

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="makes the graphs")
pytest.importorskip("onnxruntime", reason="running is an extra: pip install 'tinyclap[runtime]'")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from tests.conftest import ROOT  # noqa: E402
from tinyclap.errors import CheckpointError, ConfigError  # noqa: E402
from tinyclap.runtime.session import ENGINES, open_session  # noqa: E402


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    """A graph of one convolution and a ReLU: ``wavs`` (B, 1, T) → ``out`` (B, 8, T - 4)."""
    weights = np.random.default_rng(0).standard_normal((8, 1, 5)).astype(np.float32)
    made = helper.make_graph(
        [helper.make_node("Conv", ["wavs", "weights"], ["hidden"]), helper.make_node("Relu", ["hidden"], ["out"])],
        "network",
        [helper.make_tensor_value_info("wavs", TensorProto.FLOAT, ["batch", 1, "samples"])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["batch", 8, "left"])],
        [numpy_helper.from_array(weights, "weights")],
    )
    path = tmp_path_factory.mktemp("graph") / "network.onnx"
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


@pytest.fixture(params=ENGINES)
def engine(request):
    pytest.importorskip(request.param, reason=f"{request.param} is an extra")
    return request.param


@pytest.mark.parametrize("n_threads", [1, None])
def test_threads_that_share_a_session_get_their_own_results(graph, engine, n_threads):
    session, generator = open_session(graph, engine, n_threads=n_threads), np.random.default_rng(0)
    clips = [generator.standard_normal((1, 1, 300 + 50 * index)).astype(np.float32) for index in range(8)]
    alone = [session.run({"wavs": clip})[0] for clip in clips]
    wrong = []

    def work(seed):
        for index in np.random.default_rng(seed).integers(0, len(clips), 40):
            if not np.allclose(session.run({"wavs": clips[index]})[0], alone[index], atol=1e-5):
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_session_pickles_used_or_not(graph, engine):
    session, feeds = open_session(graph, engine, n_threads=1), {"wavs": np.ones((1, 1, 9), np.float32)}
    fresh = pickle.loads(pickle.dumps(session))
    expected = session.run(feeds)[0]
    for again in (fresh, pickle.loads(pickle.dumps(session))):
        np.testing.assert_array_equal(again.run(feeds)[0], expected)
    assert session.input_names == ["wavs"] and session.output_names == ["out"]


@pytest.mark.parametrize("where", ["weights.bin", "../weights.bin"])
def test_weights_in_a_second_file_are_refused(graph, engine, tmp_path, where):
    (tmp_path / "model").mkdir()
    model = onnx.load(graph)
    onnx.save(
        model, tmp_path / "model" / "a.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0
    )
    content = (tmp_path / "model" / "a.onnx").read_bytes()
    if where != "weights.bin":
        model = onnx.load(tmp_path / "model" / "a.onnx", load_external_data=False)
        model.graph.initializer[0].external_data[0].value = where
        content = model.SerializeToString()
    (tmp_path / "model" / "a.onnx").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"a\.onnx: keeps weights in a second file"):
        open_session(tmp_path / "model" / "a.onnx", engine)


@pytest.mark.parametrize("content", [b"", b"no graph", None])
def test_a_file_that_is_no_graph_is_refused_in_one_line(graph, engine, tmp_path, content):
    (tmp_path / "a.onnx").write_bytes(graph.read_bytes()[:40] if content is None else content)
    with pytest.raises(CheckpointError, match=r"a\.onnx") as caught:
        open_session(tmp_path / "a.onnx", engine).run({"wavs": np.ones((1, 1, 9), np.float32)})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "tensorrt"}, "engine 'tensorrt' is unknown; choose 'onnxruntime' or 'openvino'"),
        ({"precision": "fp16"}, "precision 'fp16' is unknown"),
        ({"precision": "bf16"}, "onnxruntime has no bf16"),
        *(({"n_threads": number}, "n_threads is a whole number above zero") for number in (0, -1, 1.5, "two", True)),
    ],
)
def test_options_that_mean_nothing_are_named(graph, options, message):
    with pytest.raises(ConfigError, match=message):
        open_session(graph, **options)


def test_an_engine_that_is_missing_is_one_line_with_what_to_install(graph):
    for name, extra in (("onnxruntime", "runtime"), ("openvino", "openvino")):
        code = (
            f"import sys; sys.modules[{name!r}] = None\nfrom tinyclap.runtime.session import open_session\n"
            f"try: open_session({str(graph)!r}, {name!r})\n"
            "except Exception as error: print(type(error).__name__, error)"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert done.stdout.startswith(f"ConfigError {name} is not installed"), done.stderr
        assert f"pip install 'tinyclap[{extra}]'" in done.stdout and done.stdout.count("\n") == 1


@pytest.mark.parametrize("given", [None, "0"])
def test_onnxruntime_leaves_nothing_in_the_home_folder_and_its_telemetry_is_off(graph, tmp_path, given):
    code = (
        "import os, sys, numpy as np\nfrom tinyclap.runtime.session import open_session\n"
        f"open_session({str(graph)!r}).run({{'wavs': np.ones((1, 1, 9), np.float32)}})\n"
        "print(os.environ['ORT_DISABLE_TELEMETRY'])"
    )
    env = {key: value for key, value in os.environ.items() if not key.startswith(("ORT_", "XDG_"))}
    env |= {"HOME": str(tmp_path)} | ({} if given is None else {"ORT_DISABLE_TELEMETRY": given})
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == (given or "1"), done.stderr
    assert given or list(tmp_path.iterdir()) == []


def test_onnxruntime_is_imported_behind_the_switch_of_its_telemetry_alone():
    found = {
        path.relative_to(ROOT).as_posix()
        for folder in ("tinyclap", "demo")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"^\s*(import onnxruntime|from onnxruntime)", path.read_text("utf-8"), re.MULTILINE)
    }
    assert found <= {"tinyclap/export/quantise.py"}  # its quantiser, behind a call of session.onnxruntime()

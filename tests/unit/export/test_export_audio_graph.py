"""An exported graph gives the published networks' own reference outputs, from the waveform, in every engine."""

import pytest
import torch

pytest.importorskip("onnx", reason="exporting is an extra: pip install 'tinyclap[export]'")
pytest.importorskip("onnxruntime", reason="running is an extra: pip install 'tinyclap[runtime]'")

from tests.unit import published_reference as reference  # noqa: E402
from tinyclap.errors import ConfigError  # noqa: E402
from tinyclap.export.audio_model import export_audio_graph  # noqa: E402
from tinyclap.export.front_end import write_front_end  # noqa: E402
from tinyclap.features.front_ends import log_mel  # noqa: E402
from tinyclap.models.ced import Ced  # noqa: E402
from tinyclap.models.efficientnet import EfficientNetB2  # noqa: E402
from tinyclap.models.phinet import PhiNet  # noqa: E402
from tinyclap.models.projection import LinearHead  # noqa: E402
from tinyclap.models.student import AudioStudent  # noqa: E402
from tinyclap.published.networks import load_published  # noqa: E402
from tinyclap.runtime.session import has_bf16, open_session  # noqa: E402

NAME = "phinet_alpha_0.75_beta_0.75_t0_4_N_5"


@pytest.fixture(scope="module")
def graphs(tmp_path_factory):
    """The graph of a released student, folded, and its front end alone."""
    folder = tmp_path_factory.mktemp("graphs")
    network = load_published("tinyclap-student", reference.student_state_dict(NAME), **reference.STUDENTS[NAME])
    whole = export_audio_graph(network.fold().eval(), folder / "whole.onnx")
    return whole, write_front_end(whole, folder / "front_end.onnx")


def projected(session):
    """The graph's embedding of the reference's waveform, and the reference's, before L2."""
    arrays = reference.arrays("tinyclap")
    wavs = reference.waveform(arrays["waveform_seed"], 5, 44100).numpy()
    return session.run({"wavs": wavs})[0], arrays[f"{NAME}.projected"]


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("in_parts", [False, True])
def test_the_reference_s_embedding_comes_out_of_the_folded_graph(graphs, engine, in_parts):
    pytest.importorskip(engine, reason=f"{engine} is an extra")
    session = open_session(graphs[0], engine, "fp32", 1, graphs[1] if in_parts else None)
    assert reference.relative_error(*projected(session)) < 1e-3


@pytest.mark.parametrize("in_parts", [False, True])
def test_bf16_keeps_its_front_end_exact(graphs, in_parts):
    if not has_bf16():
        pytest.skip("OpenVINO is an extra, and bf16 needs a processor that has it")
    session = open_session(graphs[0], "openvino", "bf16", 1, graphs[1] if in_parts else None)
    ours, wanted = (torch.from_numpy(rows).flatten() for rows in projected(session))
    assert 0.98 < torch.cosine_similarity(ours, wanted, dim=0) < 0.9999999


def test_a_window_shorter_than_the_front_end_s_reflection_is_refused(tmp_path):
    student = AudioStudent(log_mel("clap2022"), PhiNet(alpha=0.35, embed_width=None), window={"window_s": 0.01})
    with pytest.raises(ConfigError, match="windows of 441 samples, the exported front end needs 513"):
        export_audio_graph(student.eval(), tmp_path / "short.onnx")


STUDENTS = {
    "ced": lambda: Ced(width=64, n_layers=2),
    "effb2": lambda: EfficientNetB2(width=0.25, depth=0.1),
}


@pytest.mark.parametrize("kind", STUDENTS)
def test_students_of_other_kinds_give_the_same_in_a_graph_of_any_length(tmp_path, kind):
    torch.manual_seed(0)
    encoder = STUDENTS[kind]()
    head, window = LinearHead(encoder.embed_dim, 8), {"window_s": 10.0, "short": "native"}
    student = AudioStudent(log_mel(encoder.front_end), encoder, head, window).eval()
    session = open_session(export_audio_graph(student.fold(), tmp_path / "model.onnx"), "onnxruntime", "fp32", 1)
    for n_clips, duration_s in ((1, 10.0), (3, 1.0), (2, 2.345)):
        wavs = torch.randn(n_clips, round(duration_s * student.sample_rate_hz)) * 0.1
        with torch.no_grad():
            wanted = student(wavs).clip
        assert reference.relative_error(session.run({"wavs": wavs.numpy()})[0], wanted) < 1e-3

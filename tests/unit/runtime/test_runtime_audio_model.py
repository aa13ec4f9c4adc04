"""The runtime gives what torch gives, for every kind of clip, and says what a folder cannot do."""

import json
import shutil

import numpy as np
import pytest
import torch

pytest.importorskip("onnx", reason="exporting is an extra: pip install 'tinyclap[export]'")
pytest.importorskip("onnxruntime", reason="running is an extra: pip install 'tinyclap[runtime]'")


from tests.unit.small_export import LABELS, TAGS, exported, exported_tagger, recordings, tag_space_run  # noqa: E402
from tinyclap import runtime  # noqa: E402
from tinyclap.audio.io import read_audio  # noqa: E402
from tinyclap.errors import AudioError, CheckpointError, ConfigError  # noqa: E402
from tinyclap.export.sources import open_source  # noqa: E402
from tinyclap.export.write import ExportOptions, export_model  # noqa: E402
from tinyclap.runtime.session import has_bf16  # noqa: E402
from tinyclap.teachers import score as torch_score  # noqa: E402
from tinyclap.text.prompts import make_prompts  # noqa: E402
from tinyclap.text.scores import score  # noqa: E402


def paths():
    """The recordings, in order."""
    return sorted(recordings().glob("*.wav"))


@pytest.fixture(params=["onnxruntime", "openvino"])
def engine(request):
    """Both engines, where they are installed."""
    pytest.importorskip(request.param, reason=f"{request.param} is an extra")
    return request.param


def test_embeddings_are_those_of_torch_in_one_batch_of_all_kinds_of_clips(engine):
    folder, source, _ = exported()
    model = runtime.load(folder, engine, "fp32", n_threads=1)
    ours = model.embed(paths())
    for path, row in zip(paths(), ours, strict=True):
        wav, rate_hz = read_audio(path)
        theirs = source.student.embed_audio([wav], rate_hz)[0].numpy()
        np.testing.assert_allclose(row, theirs, atol=2e-5)
        np.testing.assert_allclose(row, model.embed(wav, rate_hz)[0], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-6)
    assert max(model.check().values()) < 2e-5


def test_classes_and_their_scores_are_those_of_the_checkpoint_teacher():
    folder, source, _ = exported()
    teacher = source.text()
    wav, rate_hz = read_audio(paths()[3])
    classes = teacher.embed_classes(make_prompts(LABELS, teacher.default_templates))
    theirs = teacher.score(teacher.embed_audio([wav], rate_hz), classes)[0]
    model = runtime.load(folder, precision="fp32")
    (named,) = model.classify(paths()[3], top=2)
    order = theirs.argsort(descending=True)[:2]
    assert [name for name, _ in named] == [LABELS[index] for index in order]
    np.testing.assert_allclose([value for _, value in named], theirs[order].numpy(), atol=2e-5)
    assert [name for name, _ in model.classify(paths()[3], ["siren"])[0]] == ["siren"]


def test_a_tagger_gives_torch_s_features_and_probabilities(engine):
    folder, source = exported_tagger()
    model = runtime.load(folder, engine)
    assert model.precision == "fp32" and model.tags == TAGS and model.labels == []
    wav, rate_hz = read_audio(paths()[2])
    with torch.no_grad():
        features, logits = source.network.embed_audio([wav], rate_hz), source.network.tag([wav], rate_hz)
    np.testing.assert_allclose(model.embed(paths()[2])[0], features[0].numpy(), atol=1e-4)
    np.testing.assert_allclose(model.tag(paths()[2])[0], logits[0].sigmoid().numpy(), atol=2e-5)
    with pytest.raises(ConfigError, match="exported without labels"):
        model.classify(paths()[2])


def test_a_student_in_a_tag_space_tags_without_a_text_side(tmp_path):
    source = open_source(tag_space_run())
    export_model(source, tmp_path / "exported", ExportOptions(text_side="no"))
    model = runtime.load(tmp_path / "exported")
    wav, rate_hz = read_audio(paths()[1])
    theirs = source.student.embed_audio([wav], rate_hz)[0].numpy()
    assert model.tags == TAGS
    np.testing.assert_allclose(model.tag(wav, rate_hz)[0], theirs, atol=2e-5)
    assert 0 < theirs.min() < theirs.max() < 1 and np.ptp(theirs) > 1e-3


@pytest.mark.parametrize("kind", ["cosine", "dot", "sqrt_dot"])
def test_scores_are_those_of_the_teachers(kind):
    generator = np.random.default_rng(0)
    audio, text = (generator.standard_normal((n, 5)).astype(np.float32) for n in (3, 4))
    theirs = torch_score(torch.from_numpy(audio), torch.from_numpy(text), kind).numpy()
    np.testing.assert_allclose(score(audio, text, kind), theirs, atol=1e-6)


def test_bf16_is_another_precision_where_the_processor_has_it():
    pytest.importorskip("openvino", reason="openvino is an extra")
    folder, _, _ = exported()
    if not has_bf16():
        with pytest.raises(ConfigError, match="no bf16"):
            runtime.load(folder, "openvino", "bf16")
        return
    exact, rounded = (runtime.load(folder, "openvino", name).embed(paths()) for name in ("fp32", "bf16"))
    assert 1e-6 < np.abs(exact - rounded).max() < 0.2


@pytest.mark.parametrize(
    ("audio", "rate_hz", "error", "message"),
    [
        ([np.zeros(0)], 8000, AudioError, "clip 0 of the batch.*no samples"),
        ([np.zeros(9), np.full(9, np.nan)], 8000, AudioError, "clip 1 of the batch.*NaN"),
        (np.zeros(9), None, ConfigError, "give sample_rate_hz"),
        (["nowhere.wav"], None, AudioError, "nowhere.wav.*no such file"),
        ([], None, AudioError, "holds no clip"),
    ],
)
def test_clips_that_cannot_be_used_are_named(audio, rate_hz, error, message):
    with pytest.raises(error, match=message):
        runtime.load(exported()[0]).embed(audio, rate_hz)


def test_what_a_folder_does_not_have_is_said():
    model = runtime.load(exported()[0])
    with pytest.raises(ConfigError, match="no vectors for whale"):
        model.classify(paths()[0], ["dog", "whale"])
    with pytest.raises(ConfigError, match="no tags"):
        model.tag(paths()[0])
    with pytest.raises(ConfigError, match="no int8 graph"):
        runtime.load(exported_tagger()[0], precision="int8")


def test_a_folder_that_is_none_or_has_changed_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no config.json"):
        runtime.load(tmp_path)
    (tmp_path / "config.json").write_text('{"format": 1, "model": {}}')
    with pytest.raises(CheckpointError, match="lacks model.type"):
        runtime.load(tmp_path)
    copy = tmp_path / "copy"
    shutil.copytree(exported()[0], copy)
    weights = bytearray((copy / "model.onnx").read_bytes())
    weights[len(weights) // 2] ^= 1
    (copy / "model.onnx").write_bytes(weights)
    with pytest.raises(CheckpointError, match=r"model\.onnx: not the file that was exported"):
        runtime.load(copy, precision="fp32")
    (copy / "model.onnx").unlink()
    with pytest.raises(CheckpointError, match=r"model\.onnx: the file is missing"):
        runtime.load(copy, precision="fp32")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "format": 99}))
    with pytest.raises(CheckpointError, match="format 99"):
        runtime.load(copy)

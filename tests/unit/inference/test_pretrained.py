"""One call opens exported folders, runs and shipped models, and all give the same numbers."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("onnx", reason="exporting is an extra: pip install 'tinyclap[export]'")
pytest.importorskip("onnxruntime", reason="running is an extra: pip install 'tinyclap[runtime]'")

import tinyclap  # noqa: E402
from tests.unit.small_export import LABELS, exported, exported_tagger, recordings, run  # noqa: E402
from tinyclap.config.shipped import shipped_folder, shipped_names  # noqa: E402
from tinyclap.errors import AudioError, CheckpointError, ConfigError, DownloadError  # noqa: E402


@pytest.fixture(scope="module")
def paths():
    """Six recordings of other rates, lengths and channels."""
    return sorted(recordings().glob("*.wav"))


@pytest.fixture(scope="module")
def models():
    """The same network computed by torch and by onnxruntime."""
    return tinyclap.from_pretrained(run()), tinyclap.from_pretrained(exported()[0], precision="fp32")


def test_a_run_and_its_export_give_the_same_embeddings(models, paths):
    rows = [model.embed(paths) for model in models]
    assert rows[0].shape == (6, models[0].embed_dim) and rows[0].dtype == rows[1].dtype == np.float32
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-5)


def test_windows_are_embedded_as_clips_of_their_length(models):
    generator = np.random.default_rng(0)
    for model in models:
        length = round(model.backend.policy.window_s * model.sample_rate_hz)
        windows = 0.1 * generator.standard_normal((3, length)).astype(np.float32)
        found = model.embed_windows(windows)
        np.testing.assert_allclose(found, model.embed(windows, model.sample_rate_hz), atol=1e-5)


def test_classes_of_a_run_and_of_its_export_are_the_same(models, paths):
    by_torch, by_engine = (model.classify(paths, LABELS, top=3) for model in models)
    for ours, theirs in zip(by_torch, by_engine, strict=True):
        assert [name for name, _ in ours] == [name for name, _ in theirs]
        np.testing.assert_allclose([value for _, value in ours], [value for _, value in theirs], atol=1e-5)


def test_labels_may_be_chosen_among_and_put_in_another_order(models, paths):
    model = models[1]
    whole = model.scores(paths)
    assert whole.shape == (6, 3)
    np.testing.assert_allclose(model.scores(paths, LABELS[::-1]), whole[:, ::-1], atol=1e-6)


def test_similarity_is_the_score_of_plain_sentences(models, paths):
    model = models[0]
    sentences = ["a dog barks", "rain"]
    np.testing.assert_allclose(
        model.similarity(paths, sentences), model.embed(paths) @ model.embed_text(sentences).T, atol=1e-5
    )


def test_a_stored_order_gives_fewer_dimensions_of_an_export(tmp_path, models, paths):
    folder = shutil.copytree(exported()[0], tmp_path / "ordered")
    config = json.loads((folder / "config.json").read_text("utf-8"))
    order = np.random.default_rng(1).permutation(config["embed_dim"]).tolist()
    (folder / "config.json").write_text(json.dumps({**config, "latent": {"order": order}}), "utf-8")
    few = tinyclap.from_pretrained(folder, dim=4, precision="fp32")
    whole = models[1].embed(paths)[:, order[:4]]
    np.testing.assert_allclose(few.embed(paths), whole / np.linalg.norm(whole, axis=1, keepdims=True), atol=1e-5)
    assert few.scores(paths).shape == (6, 3) and few.embed_dim == 4 and few.is_cut
    np.testing.assert_allclose(few.columns(models[1].embed(paths)), few.embed(paths), atol=1e-5)
    with pytest.raises(ConfigError, match="dim=999 is not among"):
        tinyclap.from_pretrained(folder, dim=999)
    with pytest.raises(ConfigError, match="no order of its dimensions is stored"):
        tinyclap.from_pretrained(exported()[0], dim=4)


def test_a_tagger_names_sounds_by_its_tags(paths):
    model = tinyclap.from_pretrained(exported_tagger()[0])
    assert model.embed(paths).shape == (6, len(model.backend.tags))
    assert ((0 <= model.embed(paths)) & (model.embed(paths) <= 1)).all()


def test_what_cannot_be_opened_is_said(tmp_path, paths):
    with pytest.raises(CheckpointError, match="neither a folder, nor one that comes with the package"):
        tinyclap.from_pretrained("nothing")
    with pytest.raises(CheckpointError, match="no model there"):
        tinyclap.from_pretrained(tmp_path)
    with pytest.raises(DownloadError, match="no folder 'results/mistyped' here"):
        tinyclap.from_pretrained("results/mistyped", local_files_only=True)
    for name in (tmp_path, "tinyclap-phinet-m"):
        with pytest.raises(ConfigError, match="revision='v1' is for owner/name on the hub"):
            tinyclap.from_pretrained(name, revision="v1")
    (tmp_path / "config.json").write_text("{", "utf-8")
    with pytest.raises(CheckpointError, match="not readable as JSON"):
        tinyclap.from_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="belong to exported folders"):
        tinyclap.from_pretrained(run(), precision="int8")
    with pytest.raises(ConfigError, match="does not caption"):
        tinyclap.from_pretrained(exported()[0]).caption(paths[0])
    with pytest.raises(AudioError, match="no such file"):
        tinyclap.from_pretrained(exported()[0]).embed("missing.wav")
    with pytest.raises(ConfigError, match="the list is empty"):
        tinyclap.from_pretrained(exported()[0]).classify(paths[0], [])


def test_shipped_models_are_found_by_name():
    assert "tinyclap-phinet-m" in shipped_names()
    model = tinyclap.from_pretrained()
    assert model.embed_dim == 527 and shipped_folder(model.name) == model.backend.folder
    assert shipped_folder("../tinyclap-phinet-m") is None


def test_classifying_with_an_exported_model_imports_nothing_heavy(paths):
    code = (
        "import sys, tinyclap\n"
        f"print(tinyclap.from_pretrained().classify({str(paths[0])!r}, top=1))\n"
        "heavy = {'torch', 'transformers', 'pandas', 'scipy', 'speechbrain', 'safetensors'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr

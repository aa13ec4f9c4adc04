"""How the page's folder is put together and served; neither a browser nor the network is needed."""

import io
import json
import os
import sys
import tarfile
import threading
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from tests.unit import small_export
from tinyclap.errors import CheckpointError, DownloadError
from tinyclap.inference.pretrained import from_pretrained
from tinyclap.text.bank import LabelBank

DEMO = Path(__file__).resolve().parents[3] / "demo"
sys.path.insert(0, str(DEMO))

import build  # noqa: E402
import serve  # noqa: E402


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    """An archive with the names of the engine's files, and nothing in them that computes."""
    path = tmp_path_factory.mktemp("engine") / "engine.tgz"
    with tarfile.open(path, "w:gz") as archive:
        for name in build.ORT_FILES:
            entry = tarfile.TarInfo(f"package/dist/{name}")
            entry.size = len(name)
            archive.addfile(entry, io.BytesIO(name.encode()))
    return path


@pytest.fixture
def built(engine, tmp_path, monkeypatch):
    """The page of a tiny model: its folder, and contents.json."""
    monkeypatch.setattr(build, "fetch_engine", lambda cache: engine)
    out = tmp_path / "site"
    return out, build.build(small_export.exported()[0], captioner="", out=out)


def test_contents_name_every_file_that_must_be_kept(built):
    out, contents = built
    there = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert set(contents["files"]) == there - {"contents.json"}
    assert {"index.html", "js/worker.js", "ort/ort.wasm.min.mjs", "models/audio/model.onnx"} <= there
    assert json.loads((out / "contents.json").read_text(encoding="utf-8")) == contents
    assert contents["version"] in (out / "service_worker.js").read_text(encoding="utf-8")


def test_the_words_that_stand_in_the_page_are_compiled(built):
    out, contents = built
    model, bank = from_pretrained(small_export.exported()[0]), LabelBank.load(out / contents["start"])
    assert len(bank.labels) == 10 and f"{bank.labels[0]}, {bank.labels[1]}" in (out / "index.html").read_text("utf-8")
    np.testing.assert_allclose(bank.vectors, model.label_vectors(bank.labels)[1], atol=1e-6)


def test_only_what_the_page_reads_is_copied(built):
    names = {path.name for path in (built[0] / "models" / "audio").iterdir()}
    assert "golden.npz" not in names
    assert not [name for name in names if "int8" in name]


def test_every_module_and_file_that_the_page_names_is_there(built):
    out, _ = built
    modules = sorted((out / "js").glob("*.js"))
    assert len(modules) > 15
    for module in modules:
        for line in module.read_text(encoding="utf-8").splitlines():
            if line.startswith("import") and " from " in line:
                name = line.split('"')[1]
                assert (module.parent / name).is_file(), (module.name, name)


def test_the_same_sources_are_the_same_version_and_another_model_is_another(built, tmp_path):
    out, contents = built
    again = build.build(small_export.exported()[0], captioner="", out=out)
    assert again["version"] == contents["version"]
    assert [path.name for path in out.parent.iterdir()] == [out.name]  # nothing is left of the earlier one
    source = small_export.exported()[0]
    other = tmp_path / "other"
    other.mkdir()
    for path in Path(source).iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    config = json.loads((other / "config.json").read_text(encoding="utf-8"))
    (other / "config.json").write_text(json.dumps({**config, "note": "another"}), encoding="utf-8")
    assert build.build(other, captioner="", out=out)["version"] != contents["version"]


def test_a_folder_of_something_else_is_not_replaced(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="something else"):
        build.build(out=tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_a_damaged_model_is_refused_and_the_page_stays(built, tmp_path):
    out, contents = built
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in Path(small_export.exported()[0]).iterdir():
        (broken / path.name).write_bytes(path.read_bytes())
    (broken / "model.onnx").write_bytes(b"cut short")
    with pytest.raises(CheckpointError, match="cut short or changed"):
        build.build(broken, captioner="", out=out)
    assert json.loads((out / "contents.json").read_text(encoding="utf-8")) == contents


def test_another_engine_than_the_published_one_is_refused(tmp_path, engine):
    name = f"onnxruntime-web-{build.ORT_VERSION}.tgz"
    (tmp_path / name).write_bytes(engine.read_bytes())
    (tmp_path / f"{name}.md5").write_text("0  kept\n")
    with pytest.raises(DownloadError, match="SHA-512"):
        build.fetch_engine(tmp_path)


def test_the_server_isolates_the_page_and_knows_its_types(built):
    server = serve.server_of(built[0])
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        address = f"http://127.0.0.1:{server.server_address[1]}/"
        kinds = ("text/javascript", "text/javascript", "application/wasm")
        for name, kind in zip((f"ort/{name}" for name in build.ORT_FILES), kinds, strict=True):
            with urllib.request.urlopen(address + name, timeout=30) as answer:
                assert answer.headers["Content-Type"] == kind
                assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
                assert answer.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    finally:
        server.shutdown()
        server.server_close()


def test_a_page_older_than_its_sources_is_built_again(built, tmp_path):
    out, _ = built
    assert serve.is_current(out)
    os.utime(out / "contents.json", (1, 1))
    assert not serve.is_current(out)
    assert not serve.is_current(tmp_path / "never_built")

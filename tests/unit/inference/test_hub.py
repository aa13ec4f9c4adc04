"""Models go to a hub and come from it, against a server on this machine that speaks its API; and say what is wrong."""

import contextlib
import hashlib
import json
import os
import shutil

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="running is an extra: pip install 'tinyclap[runtime]'")
pytest.importorskip("huggingface_hub", reason="the hub is an extra: pip install 'tinyclap[hub]'")

import tinyclap  # noqa: E402
from tests.local_hub import serve  # noqa: E402
from tests.unit.small_shipped import small_shipped  # noqa: E402
from tinyclap.errors import CheckpointError, ConfigError, DownloadError  # noqa: E402
from tinyclap.inference import hub  # noqa: E402
from tinyclap.inference.saved_folders import broken_files  # noqa: E402

NAME = "me/tiny"
NOWHERE = "http://127.0.0.1:9"  # the port of "discard", where nothing answers


def contents(folder):
    """File name → bytes of a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def small():
    """A folder that is quick to copy."""
    return small_shipped()


@pytest.fixture
def served(small, tmp_path, monkeypatch):
    """A hub with that model and something that is not to be fetched; the cache is empty."""
    files = contents(small) | {"run.py": b"raise SystemExit", "weights.pth": b"pickle", ".gitattributes": b"*.onnx"}
    with serve(
        {NAME: files, "other/library": {"config.json": b'{"model_type": "clap"}', "big.safetensors": b"x"}}
    ) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        server.cache = tmp_path / "cache"
        yield server


def test_a_model_of_the_hub_opens_by_its_name_and_gives_the_same(served, small):
    clip = np.random.default_rng(0).standard_normal(16000).astype(np.float32)
    model = tinyclap.from_pretrained(NAME, cache_dir=served.cache)
    np.testing.assert_array_equal(model.embed(clip, 16000), tinyclap.from_pretrained(small).embed(clip, 16000))


def test_nothing_that_executes_is_fetched(served):
    folder = hub.fetch(NAME, cache_dir=served.cache)
    assert (folder / "model.onnx").is_file() and not broken_files(folder)
    assert not {"run.py", "weights.pth", ".gitattributes"} & {path.name for path in folder.rglob("*")}
    assert not any("run.py" in asked or "weights.pth" in asked for asked in served.asked)


def test_what_is_in_the_cache_needs_no_network(served, monkeypatch, caplog):
    folder = hub.fetch(NAME, cache_dir=served.cache)
    commit, n_asked = served.commit(NAME), len(served.asked)
    assert hub.fetch(NAME, local_files_only=True, cache_dir=served.cache) == folder
    assert hub.fetch(NAME, revision=commit, cache_dir=served.cache) == folder, "a commit never changes"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert hub.fetch(NAME, cache_dir=served.cache) == folder
    assert len(served.asked) == n_asked, "the server was asked although it need not be"
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", NOWHERE)
    assert hub.fetch(NAME, cache_dir=served.cache) == folder
    assert "the copy in the cache is used" in caplog.text


def test_without_a_network_or_a_copy_it_fails_at_the_first_question(served, monkeypatch):
    with pytest.raises(DownloadError, match="no network is to be used.*tinyclap download me/tiny"):
        hub.fetch(NAME, local_files_only=True, cache_dir=served.cache)
    assert served.asked == []
    monkeypatch.setenv("HF_ENDPOINT", NOWHERE)
    waits = []
    monkeypatch.setattr("time.sleep", waits.append)
    with pytest.raises(DownloadError, match="does not answer"):
        hub.fetch(NAME, cache_dir=served.cache)
    assert waits == [], "the client waited to ask again"


def test_what_is_not_there_or_of_another_library_is_said(served):
    with pytest.raises(DownloadError, match="no model me/missing on the hub"):
        hub.fetch("me/missing", cache_dir=served.cache)
    with pytest.raises(DownloadError, match="at revision 'v9' on the hub"):
        hub.fetch(NAME, revision="v9", cache_dir=served.cache)
    with pytest.raises(DownloadError, match="no model of tinyclap"):
        hub.fetch("other/library", cache_dir=served.cache)
    assert not any("safetensors" in asked for asked in served.asked), "its weights were fetched before it was looked at"


def test_a_dropped_connection_is_taken_up_within_the_file(served, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    served.repos[NAME]["large.npz"] = bytes(24 << 20)  # the client writes in pieces of 10 MiB
    served.cut.add("large.npz")
    assert (hub.fetch(NAME, cache_dir=served.cache) / "large.npz").stat().st_size == 24 << 20
    assert any("large.npz bytes=" in asked for asked in served.asked), "it began anew"


def test_after_a_download_that_broke_off_only_what_is_missing_is_fetched(served, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    served.cut.add("model.onnx")
    with pytest.raises(DownloadError, match="what is finished stays"):
        hub.fetch(NAME, cache_dir=served.cache)
    with pytest.raises(DownloadError, match="no whole copy"):
        hub.fetch(NAME, local_files_only=True, cache_dir=served.cache)
    served.cut.clear()
    served.asked.clear()
    assert not broken_files(hub.fetch(NAME, cache_dir=served.cache))
    fetched = [asked for asked in served.asked if asked.startswith("GET") and "/resolve/" in asked]
    assert len(fetched) == 1 and "model.onnx" in fetched[0]


def test_a_published_model_comes_back_whole_with_its_card(served, small, tmp_path):
    model = tinyclap.from_pretrained(small)
    score = {"dataset": "esc50", "metric": "zero-shot top-1 accuracy", "value": 0.5, "n_items": 4}
    address = hub.push_to_hub(model, "me/new", token="hf_secret", commit_message="first", metrics=[score])
    assert address.startswith(served.url) and "me/new" in address
    folder = hub.fetch("me/new", cache_dir=served.cache)
    for name, content in contents(small).items():
        if name.endswith((".onnx", ".npz", "labels.json")):
            assert (folder / name).read_bytes() == content
    card = (folder / "README.md").read_text("utf-8")
    assert "from_pretrained('me/new')" in card and "| esc50 | zero-shot top-1 accuracy | 0.5000 |  | 4 |" in card
    assert hub.cached_models(served.cache) == [("me/new", served.commit("me/new"), folder)]


def test_publishing_without_a_right_or_a_network_is_said(served, small, monkeypatch):
    model = tinyclap.from_pretrained(small)
    with pytest.raises(DownloadError, match="hf auth login, or HF_TOKEN"):
        hub.push_to_hub(model, "me/new", token=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DownloadError, match="HF_HUB_OFFLINE is set"):
        hub.push_to_hub(model, "me/new")
    assert "me/new" not in served.repos


def test_a_saved_folder_is_whole_or_not_there(small, tmp_path):
    model, target = tinyclap.from_pretrained(small), tmp_path / "saved"
    model.save_pretrained(target)
    assert not broken_files(target) and (target / "README.md").is_file()
    assert (target / "config.json").read_bytes() == (small / "config.json").read_bytes()
    before = contents(target)
    with pytest.raises(ConfigError, match="finite value"):
        hub.save_pretrained(model, target, [{"dataset": "a", "metric": "b", "value": float("nan"), "n_items": 1}])
    copy = shutil.copytree(small, tmp_path / "copy")
    broken = tinyclap.from_pretrained(copy)
    (copy / "golden.npz").write_bytes(b"cut short")
    with pytest.raises(CheckpointError, match="not the file that was exported"):
        broken.save_pretrained(target)
    assert contents(target) == before and {path.name for path in tmp_path.iterdir()} == {"saved", "copy"}
    other = tmp_path / "other"
    other.mkdir()
    (other / "diary.txt").write_text("mine", "utf-8")
    with pytest.raises(ConfigError, match="no earlier model"):
        model.save_pretrained(other)
    assert contents(other) == {"diary.txt": b"mine"}


def test_files_of_the_user_stay_in_a_folder_that_is_saved_again(small, tmp_path):
    model, target = tinyclap.from_pretrained(small), tmp_path / "mine"
    model.save_pretrained(target)
    (target / "banks").mkdir(exist_ok=True)
    theirs = {"diary.txt": b"a", ".git/config": b"b", "banks/mine.npz": b"c"}
    for name, content in theirs.items():
        (target / name).parent.mkdir(exist_ok=True)
        (target / name).write_bytes(content)
    (target / "link").symlink_to("diary.txt")
    (target / "golden.npz").write_bytes(b"damaged")
    model.save_pretrained(target)
    assert contents(target).items() >= theirs.items() and (target / "link").is_symlink()
    assert not broken_files(target)


@pytest.mark.parametrize("failing", [1, 2, 3])
def test_a_rename_that_fails_leaves_a_model(small, tmp_path, monkeypatch, failing):
    model, target = tinyclap.from_pretrained(small), tmp_path / "mine"
    model.save_pretrained(target)
    renames = iter(range(1, 100))
    replace = os.replace

    def broken(*paths):
        if next(renames) == failing:
            raise PermissionError(13, "Permission denied")
        replace(*paths)

    monkeypatch.setattr(os, "replace", broken)
    with contextlib.suppress(ConfigError):
        model.save_pretrained(target)
    monkeypatch.undo()
    assert not broken_files(target) and [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize(
    "name", ["../other.txt", "/tmp/other.txt", "a/../../other.txt", "..\\other.txt", "C:other.txt"]
)
def test_a_config_that_names_a_file_outside_its_folder_is_refused(small, tmp_path, name):
    folder = shutil.copytree(small, tmp_path / "there" / "model")
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (tmp_path / "there" / "other.txt").write_bytes(b"theirs")
    config["files"][name] = hashlib.sha256(b"theirs").hexdigest()
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(CheckpointError, match="other.txt"):
        tinyclap.from_pretrained(folder).save_pretrained(tmp_path / "mine" / "model")
    assert not (tmp_path / "mine" / "other.txt").exists()
    with pytest.raises(CheckpointError, match="other.txt"):
        broken_files(folder)


def test_scores_stay_with_a_model_that_is_saved_again(small, tmp_path):
    model = tinyclap.from_pretrained(small)
    scores = [
        {"dataset": "esc50", "metric": "accuracy", "value": value, "n_items": 4, "options": {"folds": [fold]}}
        for value, fold in ((0.25, 1), (0.5, 2), (0.75, 1))
    ]
    hub.save_pretrained(model, tmp_path / "a", scores[:2])
    hub.save_pretrained(tinyclap.from_pretrained(tmp_path / "a"), tmp_path / "b", scores[2])
    kept = json.loads((tmp_path / "b" / "scores.json").read_text("utf-8"))
    assert [(each["folds"], each["value"]) for each in kept] == [([2], 0.5), ([1], 0.75)]


def test_a_checkpoint_is_saved_and_opens_again(tmp_path):
    pytest.importorskip("onnx", reason="exporting is an extra: pip install 'tinyclap[export]'")
    from tests.unit.small_export import run

    model = tinyclap.from_pretrained(run())
    clip = np.random.default_rng(0).standard_normal(16000).astype(np.float32)
    for _ in range(2):  # an earlier save is replaced
        again = tinyclap.from_pretrained(model.save_pretrained(tmp_path / "saved"))
    np.testing.assert_array_equal(again.embed(clip, 16000), model.embed(clip, 16000))
    assert sorted(contents(tmp_path / "saved")) == ["README.md", "config.json", "model.safetensors"]
    (tmp_path / "saved" / "model.safetensors").write_bytes(b"")
    assert broken_files(tmp_path / "saved") == ["model.safetensors"]


def test_fewer_dimensions_are_saved_as_such_or_refused(small, tmp_path):
    config = json.loads((small / "config.json").read_text("utf-8"))
    ordered = shutil.copytree(small, tmp_path / "ordered")
    (ordered / "config.json").write_text(json.dumps({**config, "latent": {"order": list(range(527))}}), "utf-8")
    with pytest.raises(ConfigError, match="opened with dim=8"):
        tinyclap.from_pretrained(ordered, dim=8).save_pretrained(tmp_path / "few")
    assert not (tmp_path / "few").exists()

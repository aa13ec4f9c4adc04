"""Weights load whole or not at all, and a saved folder is the model it was."""

import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tinyclap.checkpoints import state as checkpoints
from tinyclap.checkpoints.state import load_folder, load_student, read_state_dict, save_folder, strict_load
from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.features.front_ends import log_mel
from tinyclap.models.phinet import PhiNet
from tinyclap.models.projection import LinearHead
from tinyclap.models.student import AudioStudent


@pytest.fixture
def head():
    torch.manual_seed(0)
    return LinearHead(6, 3)


def damaged_files(folder, weights):
    """Files that are no state dict, by what is wrong with them."""
    whole, tensors = folder / "whole.pt", folder / "whole.safetensors"
    torch.save(weights, whole)
    save_file(weights, tensors)
    contents = {
        "empty.pt": b"",
        "truncated.pt": whole.read_bytes()[:-200],
        "half.pt": whole.read_bytes()[: whole.stat().st_size // 2],
        "page.pth": b"<!DOCTYPE html><html>404</html>",
        "truncated.safetensors": tensors.read_bytes()[:-4],
        "other.safetensors": whole.read_bytes(),
        "other.pt": tensors.read_bytes(),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in contents]


def test_every_damaged_file_is_a_clear_error(head, tmp_path):
    for path in damaged_files(tmp_path, head.state_dict()):
        with pytest.raises(CheckpointError, match=f"{path.name}: .*again"):
            read_state_dict(path)
    with pytest.raises(CheckpointError, match="no such file"):
        read_state_dict(tmp_path / "absent.pt")


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    torch.save({"weight": nn.Linear(2, 2)}, tmp_path / "module.pt")
    with pytest.raises(CheckpointError, match="not a file of weights alone"):
        read_state_dict(tmp_path / "module.pt")


@pytest.mark.parametrize("wrapper", [None, "model", "state_dict"])
def test_state_dicts_are_found_under_their_usual_keys(head, tmp_path, wrapper):
    weights = head.state_dict()
    torch.save(weights if wrapper is None else {wrapper: weights, "epoch": 7}, tmp_path / "x.pt")
    assert torch.equal(read_state_dict(tmp_path / "x.pt")["linear.weight"], head.linear.weight)


def test_what_holds_no_state_dict_says_what_it_holds(tmp_path):
    torch.save({"epoch": 7, "loss": [1.0]}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=r"it holds: epoch \(int\), loss \(list\)"):
        read_state_dict(tmp_path / "x.pt")
    torch.save(torch.zeros(3), tmp_path / "y.pt")
    with pytest.raises(CheckpointError, match="holds a Tensor"):
        read_state_dict(tmp_path / "y.pt")


def test_all_missing_surplus_and_misshaped_names_come_at_once_and_long_lists_are_counted():
    module = nn.Sequential(*(nn.Linear(2, 2) for _ in range(8)))
    weights = {f"x{index}": torch.zeros(1) for index in range(12)}
    weights |= {"0.weight": torch.zeros(3, 2), "0.bias": torch.zeros(2)}
    with pytest.raises(CheckpointError) as caught:
        strict_load(module, weights, source="x.pt")
    message = str(caught.value)
    assert message.startswith("x.pt does not fit Sequential; nothing was loaded")
    assert "14 missing: 1.weight, 1.bias," in message and "… and 4 more" in message
    assert "12 surplus: x0," in message and "… and 2 more" in message
    assert "1 of another shape: 0.weight is (3, 2), should be (2, 2)" in message


def test_names_are_translated_and_known_extras_are_left_out(head):
    weights = {"published.weight": torch.ones(3, 6), "published.bias": torch.ones(3), "front_end.window": torch.ones(9)}
    rename = lambda name: name.replace("linear", "published")  # noqa: E731
    strict_load(head, weights, rename, allowed_extra=(r"^front_end\.",))
    assert (head.linear.weight == 1).all()
    with pytest.raises(CheckpointError, match=r"1 missing: published\.bias"):
        strict_load(head, {"published.weight": torch.ones(3, 6)}, rename)


def test_a_saved_folder_is_the_model_it_was(tmp_path):
    torch.manual_seed(0)
    encoder = PhiNet(alpha=0.35, n_layers=4, embed_width=None, downsampling_layers=[4])
    student = AudioStudent(log_mel("clap2022"), encoder, LinearHead(encoder.embed_dim, 8), {"window_s": 1.0})
    student.train()(torch.rand(2, 44100))  # moves the statistics of the norms
    save_folder(student, tmp_path / "run" / "student", {"teacher": {"kind": "msclap2022"}})
    assert sorted(path.name for path in (tmp_path / "run" / "student").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]
    again, config = load_student(tmp_path / "run")
    assert config["teacher"] == {"kind": "msclap2022"} and config["format"] == 1
    assert not again.training
    wavs = torch.rand(3, 44100) - 0.5
    assert torch.equal(again.embed_audio(wavs, 44100), student.eval().embed_audio(wavs, 44100))
    assert torch.equal(load_student(tmp_path / "run" / "student")[0](wavs).clip, student(wavs).clip)


def test_tied_weights_can_be_saved(tmp_path, head):
    head.linear.bias = nn.Parameter(head.linear.weight.detach()[:, 0])
    save_folder(head, tmp_path / "m")
    assert torch.equal(load_folder(tmp_path / "m")[0].linear.bias, head.linear.bias)


def test_saving_again_replaces_both_files_and_leaves_others_alone(tmp_path, head):
    save_folder(head, tmp_path)
    (tmp_path / "MODEL_CARD.md").write_text("mine")
    head.linear.bias.data.fill_(5)
    save_folder(head, tmp_path)
    assert (load_folder(tmp_path)[0].linear.bias == 5).all()
    assert (tmp_path / "MODEL_CARD.md").read_text() == "mine"


@pytest.mark.parametrize("n_renames", [0, 1])
def test_a_run_killed_while_saving_leaves_a_whole_model(tmp_path, head, monkeypatch, n_renames):
    save_folder(head, tmp_path)
    old, calls = head.linear.bias.detach().clone(), []

    def killed(source, target):
        if len(calls) == n_renames:
            raise KeyboardInterrupt
        calls.append(target)
        replace(source, target)

    replace = checkpoints.os.replace
    monkeypatch.setattr(checkpoints.os, "replace", killed)
    head.linear.bias.data.fill_(5)
    with pytest.raises(KeyboardInterrupt):
        save_folder(head, tmp_path)
    assert torch.equal(load_folder(tmp_path)[0].linear.bias, head.linear.bias if n_renames else old)


def test_what_cannot_be_saved_is_refused(tmp_path, head):
    with pytest.raises(ConfigError, match="weights_sha256 cannot be in extra"):
        save_folder(head, tmp_path, {"weights_sha256": "x"})
    with pytest.raises(ConfigError, match="write @configurable above its class"):
        save_folder(nn.Linear(2, 2), tmp_path)


def change_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_every_damaged_folder_is_a_clear_error(tmp_path, head):
    def folder(name):
        save_folder(head, tmp_path / name)
        return tmp_path / name

    changed = folder("changed")
    other = LinearHead(6, 3)
    save_file(other.state_dict(), changed / "model.safetensors")
    truncated = folder("truncated")
    (truncated / "model.safetensors").write_bytes((truncated / "model.safetensors").read_bytes()[:-8])
    for path in (changed, truncated):
        with pytest.raises(CheckpointError, match="its sha256 differs"):
            load_folder(path)
    no_weights = folder("no_weights")
    (no_weights / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors missing"):
        load_folder(no_weights)
    no_json = folder("no_json")
    (no_json / "config.json").write_text('{"format": 1,')
    with pytest.raises(CheckpointError, match="not readable as JSON"):
        load_folder(no_json)
    foreign = folder("foreign")
    (foreign / "config.json").write_text('{"architectures": []}')
    with pytest.raises(CheckpointError, match="no config of a tinyclap model"):
        load_folder(foreign)
    wider = folder("wider")
    change_config(wider, model={"type": "LinearHead", "d_in": 6, "d_out": 4, "bias": True})
    with pytest.raises(CheckpointError, match=r"linear\.weight is \(3, 6\), should be \(4, 6\)"):
        load_folder(wider)
    unknown = folder("unknown")
    change_config(unknown, model={"type": "os.system", "command": "true"})
    with pytest.raises(CheckpointError, match=r"unknown type 'os\.system'"):
        load_folder(unknown)


def test_a_run_without_student_says_what_to_give(tmp_path):
    with pytest.raises(CheckpointError, match="or the folder of a finished run"):
        load_student(tmp_path)

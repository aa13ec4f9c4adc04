"""Label banks survive every format, know their model, and give what the model itself gives."""

import errno
import json
import os
import shutil
import struct
import subprocess
import zipfile

import numpy as np
import pytest
import soundfile

pytest.importorskip("onnxruntime", reason="the shipped model runs on it: pip install 'tinyclap[runtime]'")

import tinyclap  # noqa: E402
from tinyclap.cli.main import main  # noqa: E402
from tinyclap.errors import CheckpointError, ConfigError  # noqa: E402
from tinyclap.text.bank import LabelBank, compile_bank, ready_bank, ready_names  # noqa: E402
from tinyclap.text.bank_header import c_string  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:the text tower does not know")
NAMES = ["dog barking", "rain", 'a "quoted" 雨 */ name??/']


@pytest.fixture(scope="module")
def model():
    return tinyclap.from_pretrained(n_threads=1)


@pytest.fixture(scope="module")
def bank(model):
    return compile_bank(model, NAMES, ["{}", "the sound of {}"])


@pytest.mark.parametrize("suffix", [".npz", ".json"])
def test_a_bank_is_read_back_as_it_was(bank, suffix, tmp_path):
    bank.save(tmp_path / f"bank{suffix}")
    again = LabelBank.load(tmp_path / f"bank{suffix}")
    assert again.labels == NAMES and again.facts() == bank.facts()
    np.testing.assert_array_equal(again.vectors, bank.vectors)
    assert again.vectors.dtype == np.float32 and bank.text_identity["name"].endswith("all-MiniLM-L6-v2")


def test_an_npz_holds_nothing_that_executes(bank, tmp_path):
    bank.save(tmp_path / "bank.npz")
    with np.load(tmp_path / "bank.npz", allow_pickle=False) as content:
        assert {name: content[name].dtype.kind for name in content} == {"labels": "U", "vectors": "f", "about": "U"}


def test_a_bank_classifies_as_its_names_do_and_without_the_text_tower(model, bank, tmp_path):
    wav = np.random.default_rng(0).standard_normal(32000).astype(np.float32) * 0.1
    bank.save(tmp_path / "bank.npz")
    fresh = tinyclap.from_pretrained(n_threads=1)
    found = fresh.scores([wav], LabelBank.load(tmp_path / "bank.npz"), sample_rate_hz=32000)
    assert "text" not in vars(fresh.backend)  # which is opened when it is first asked for
    wanted = model.scores([wav], NAMES, ["{}", "the sound of {}"], sample_rate_hz=32000)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_another_model_s_bank_is_refused(model, bank):
    facts = {name: value for name, value in bank.facts().items() if name != "format"}
    other = LabelBank(NAMES, bank.vectors, **{**facts, "model_sha256": "00", "weights_sha256": "", "model": "another"})
    with pytest.raises(ConfigError, match=r"compiled for another \(sha256 00…\), not for tinyclap-phinet-m"):
        model.label_vectors(other)
    narrow = LabelBank(NAMES, bank.vectors[:, :5], **facts)
    with pytest.raises(ConfigError, match="has 5 dimensions for sqrt_dot scores, tinyclap-phinet-m has 527"):
        narrow.require_fits(model)


def test_exports_of_the_same_weights_take_the_same_bank(model, bank):
    facts = {name: value for name, value in bank.facts().items() if name != "format"}
    LabelBank(NAMES, bank.vectors, **{**facts, "model_sha256": "of another export"}).require_fits(model)


def test_names_and_vectors_have_to_fit():
    with pytest.raises(ConfigError, match=r"2 labels cannot have vectors of shape \(3, 3\)"):
        LabelBank(["a", "b"], np.eye(3), ["{}"], "cosine", "m", "0")
    with pytest.raises(ConfigError, match="more often: a"):
        LabelBank(["a", "a"], np.eye(2), ["{}"], "cosine", "m", "0")
    with pytest.raises(ConfigError, match="all zeros: that of 'b'"):
        LabelBank(["a", "b"], np.array([[1.0], [0.0]]), ["{}"], "cosine", "m", "0")
    with pytest.raises(ConfigError, match="finite"):
        LabelBank(["a", "b"], np.array([[1.0], [np.nan]]), ["{}"], "cosine", "m", "0")
    for odd in (np.eye(2, dtype=complex), np.eye(2, dtype=bool), np.array([["1", "0"], ["0", "1"]])):
        with pytest.raises(ConfigError, match="vectors are numbers, not"):
            LabelBank(["a", "b"], odd, ["{}"], "cosine", "m", "0")


def test_what_is_no_bank_is_refused(bank, tmp_path):
    (tmp_path / "a.json").write_text("{}")
    (tmp_path / "b.npz").write_bytes(b"PK\x03\x04 cut short")
    bank.save(tmp_path / "c.json")
    content = json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))
    (tmp_path / "c.json").write_text(json.dumps({**content, "format": 99}))
    for name, message in [("a.json", "no label bank"), ("b.npz", "no label bank"), ("c.json", "another format")]:
        with pytest.raises(CheckpointError, match=message):
            LabelBank.load(tmp_path / name)
    with pytest.raises(CheckpointError, match="tinyclap labels NAMES --out no.npz"):
        LabelBank.load(tmp_path / "no.npz")
    for call in (LabelBank.load, bank.save):
        with pytest.raises(ConfigError, match="is a path, not None"):
            call(None)
    with pytest.raises(ConfigError, match="a bank is written as .npz, .json, .h"):
        bank.save(tmp_path / "bank.txt")
    with pytest.raises(ConfigError, match="int8 is for C headers"):
        bank.save(tmp_path / "bank.npz", int8=True)


@pytest.mark.parametrize("int8", [False, True])
def test_a_c_program_scores_as_python_does(bank, int8, tmp_path):
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    bank.save(tmp_path / "my labels.h", int8)
    scale = "bank_my_labels_scales[i] *" if int8 else ""
    (tmp_path / "main.c").write_text(
        '#include <stdio.h>\n#include "my labels.h"\n'
        "int main(void) {\n"
        "    for (int i = 0; i < BANK_MY_LABELS_N_LABELS; i++) {\n"
        "        double total = 0;\n"
        "        for (int d = 0; d < BANK_MY_LABELS_N_DIMS; d++)\n"
        f"            total += {scale} (1 + d % 3) * (double)bank_my_labels_vectors[i][d];\n"
        '        printf("%s\\t%.9g\\n", bank_my_labels_labels[i], total);\n'
        "    }\n    return 0;\n}\n"
    )
    flags = ["-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror"]
    subprocess.run([compiler, *flags, "main.c", "-o", "main"], cwd=tmp_path, check=True)
    lines = subprocess.run([tmp_path / "main"], capture_output=True, check=True).stdout.decode("utf-8").splitlines()
    assert [line.split("\t")[0] for line in lines] == NAMES
    scales = np.abs(bank.vectors).max(axis=1, keepdims=True) / 127
    vectors = np.rint(bank.vectors / scales) * scales if int8 else bank.vectors
    wanted = vectors @ (1 + np.arange(bank.embed_dim) % 3)
    np.testing.assert_allclose([float(line.split("\t")[1]) for line in lines], wanted, rtol=1e-5)


def test_c_strings_are_ascii_without_trigraphs():
    assert c_string('a"\\?é') == r'"a\"\\\077\303\251"'


def test_ready_banks_fit_the_shipped_model_and_hold_the_corpora_s_classes(model):
    sizes = {name: len(ready_bank(name).labels) for name in ready_names()}
    assert sizes == {"audioset": 527, "esc50": 50, "tut17": 15, "urbansound8k": 10}
    for name in sizes:
        ready_bank(name).require_fits(model)
    with pytest.raises(ConfigError, match="no ready bank 'esc'; there are|no ready bank 'esc' for tinyclap-phinet-m"):
        ready_bank("esc")


def test_ready_banks_are_what_the_model_s_own_text_side_says_but_for_its_int8_weights(model):
    for name in ("esc50", "urbansound8k", "tut17"):
        ready = ready_bank(name)
        ours = model.backend.text.embed_classes([[t.format(label) for t in ready.templates] for label in ready.labels])
        cosine = (ours * ready.vectors).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(ready.vectors, axis=1)
        assert 0.99 < cosine.min() < 1


def test_the_audioset_bank_scores_are_roots_of_the_tags_probabilities(model):
    wav = np.random.default_rng(1).standard_normal(64000).astype(np.float32) * 0.1
    bank = ready_bank("audioset")
    assert bank.labels == model.backend.tags
    np.testing.assert_allclose(model.scores([wav], bank, sample_rate_hz=32000), np.sqrt(model.embed([wav], 32000)))


def test_only_labels_that_are_texts_get_shares(model, tmp_path, capsys):
    assert ready_bank("esc50").is_of_texts and not ready_bank("audioset").is_of_texts
    soundfile.write(tmp_path / "noise.wav", 0.1 * np.random.default_rng(0).standard_normal(32000), 32000)
    for name, word in (("esc50", "probability"), ("audioset", "score")):
        assert main(["classify", str(tmp_path / "noise.wav"), "--labels", name, "--format", "csv", "--top", "1"]) == 0
        assert capsys.readouterr().out.splitlines()[0] == f"file,label,{word}"


def _npz(path, replaced=None, **arrays):
    """A bank's archive with other arrays in place of its own, or a member's bytes replaced."""
    np.savez(path, **arrays)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()} | (replaced or {})
    with zipfile.ZipFile(path, "w") as archive:
        for name, body in members.items():
            archive.writestr(name, body)


def _claims(shape, descr="'<f4'"):
    head = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head


@pytest.mark.parametrize(
    "replaced",
    [
        *({"vectors.npy": _claims("(50, 1000000000000)")}, {"vectors.npy": _claims("(-1, 4)")}),
        *({"labels.npy": _claims("(10**9,)", "'<U9'")}, {"labels.npy": _claims("(2,)", "'|O'") + b"\x80\x04N."}),
        *(
            {"about.npy": b""},
            {"about.npy": _claims("()", "'<U2'") + "[]".encode("utf-32-le")},
            {"vectors.npy": b"\x93NUMPY\x09"},
        ),
    ],
)
def test_an_npz_that_lies_about_its_arrays_is_refused_at_once_by_name(bank, replaced, tmp_path):
    arrays = {"labels": np.array(bank.labels), "vectors": bank.vectors, "about": np.array(json.dumps(bank.facts()))}
    _npz(tmp_path / "lies.npz", replaced, **arrays)
    with pytest.raises(CheckpointError, match="lies.npz: no label bank"):
        LabelBank.load(tmp_path / "lies.npz")


@pytest.mark.parametrize(
    "change",
    [
        *({"labels": ["a", "b", 3]}, {"labels": "abc"}, {"labels": ["a", "b", ""]}, {"labels": ["a", "a", "b"]}),
        *({"vectors": [[1.0], [2.0, 3.0], [4.0]]}, {"vectors": [[1e39], [0], [0]]}, {"vectors": []}, {"vectors": None}),
        *({"score_kind": "euclid"}, {"templates": None}, {"templates": [1]}, {"text_identity": []}, {"more": 1}),
        {"model_sha256": None},
    ],
)
def test_a_json_bank_with_wrong_content_is_refused_by_name(bank, change, tmp_path):
    content = {**bank.facts(), "labels": bank.labels, "vectors": bank.vectors.tolist(), **change}
    (tmp_path / "bad.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(CheckpointError, match="bad.json: no label bank"):
        LabelBank.load(tmp_path / "bad.json")


@pytest.mark.parametrize("name", ["rows.npz", "notes.json", "main.h", "folder.npz"])
def test_a_bank_is_never_written_over_another_file(bank, name, tmp_path):
    path = tmp_path / name
    if name == "rows.npz":
        np.savez(path, rows=np.eye(2))
    elif name == "folder.npz":
        path.mkdir()
    else:
        path.write_text('{"labels": "mine"}')
    before = None if path.is_dir() else path.read_bytes()
    with pytest.raises(ConfigError, match=f"{name}: is there and is no label bank"):
        bank.save(path)
    assert (before is None and path.is_dir()) or path.read_bytes() == before


@pytest.mark.parametrize("name", ["a.npz", "a.json", "a.h"])
def test_a_bank_is_written_over_a_bank_atomically(bank, name, tmp_path, monkeypatch):
    path = tmp_path / name
    path.touch()  # as mktemp makes it
    bank.save(path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(ConfigError, match=f"{name}: not written: No space left"):
            bank.save(path)
    assert path.read_bytes() == before and [part.name for part in tmp_path.iterdir()] == [name]
    bank.save(path)


def test_a_broken_bank_is_never_met_with_advice_to_unpickle_it(tmp_path):
    (tmp_path / "bad.npz").write_text("no archive")
    with pytest.raises(CheckpointError, match="no label bank, or cut short") as caught:
        LabelBank.load(tmp_path / "bad.npz")
    assert "pickle" not in str(caught.value)

"""Microsoft's CLAP and a released student as teachers: the whole way from files to scores, at their real size."""

import pytest
import torch
from published_reference import STUDENTS, msclap_shapes, student_state_dict
from transformers import BertTokenizer

from tinyclap.errors import CheckpointError, DownloadError
from tinyclap.published.table import PUBLISHED
from tinyclap.teachers import make_teacher

CLAP = PUBLISHED["msclap2022"]
SMALL = "phinet_alpha_0.75_beta_0.75_t0_4_N_5"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Weights of both towers and a tokenizer; CLAP's tensors repeat one number, so that 760 MB take 100 kB on disk."""
    folder = tmp_path_factory.mktemp("published")
    constants = {
        key: torch.tensor(0) if not shape else torch.tensor(0.01).expand(shape)
        for key, shape in msclap_shapes().items()
    }
    torch.save({"model": constants}, folder / CLAP.file)
    torch.save(student_state_dict(SMALL), folder / "student_model.ckpt")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dog", "barks"]
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizer(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def student(files):
    options = {"text_weights": files / CLAP.file, "tokenizer": str(files), **STUDENTS[SMALL]}
    return make_teacher("tinyclap-student", weights=files / "student_model.ckpt", **options).load()


@pytest.mark.slow
def test_a_released_student_is_scored_with_clap_s_text_tower(student, files):
    wavs = [torch.rand(7000) - 0.5, torch.rand(2, 400) - 0.5]
    audio = student.embed_audio(wavs, 16000)
    classes = student.embed_classes([["a dog", "a dog barks"], ["barks"]])
    assert audio.shape == classes.shape == (2, 1024)
    torch.testing.assert_close(classes.norm(dim=1), torch.ones(2))
    assert student.score(audio, classes).abs().max() <= 1 + 1e-6
    text_side = {"kind": "msclap2022", "weights": str(files / CLAP.file), "tokenizer": str(files)}
    assert student.text_side() == text_side


@pytest.mark.slow
def test_clap_itself_embeds_both_sides_in_eval_mode_and_without_gradient(student):
    clap = student.text
    assert clap.is_loaded and not any(module.training for module in clap.train().modules())
    assert not any(parameter.requires_grad for parameter in student.parameters())
    rows = clap.embed_text(["a dog"]), clap.embed_audio(torch.rand(1, 1000) - 0.5, 44100)
    for row in rows:
        assert row.shape == (1, clap.embed_dim) and not row.requires_grad
        torch.testing.assert_close(row.norm(dim=1), torch.ones(1))


def test_missing_weights_say_which_file_and_where_from(tmp_path):
    nowhere = tmp_path / "nowhere.pth"
    message = "nowhere.pth: no such file; give the path of CLAP_weights_2022.pth .*7312125"
    with pytest.raises(CheckpointError, match=message):
        make_teacher("msclap2022", weights=nowhere).load()
    with pytest.raises(CheckpointError, match=message):
        make_teacher("tinyclap-student", weights=tmp_path / "student_model.ckpt", text_weights=nowhere).load()


def test_weights_that_were_fetched_before_are_not_asked_for_again(tmp_path):
    (tmp_path / CLAP.file).write_bytes(b"whole")
    (tmp_path / f"{CLAP.file}.md5").write_text(f"{'0' * 32}  {CLAP.file}\n")
    assert CLAP.download(tmp_path) == tmp_path / CLAP.file


def test_a_fetch_without_a_network_says_so(tmp_path, monkeypatch):
    # a proxy that is not there: no name is looked up, and nothing leaves this machine
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(DownloadError, match="cannot read https://zenodo.org/api/records/7312125 .* by hand and give"):
        make_teacher("msclap2022", weights="download", cache=tmp_path).load()
    assert not list(tmp_path.iterdir())

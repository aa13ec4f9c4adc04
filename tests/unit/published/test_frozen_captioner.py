"""What the swap of encoders and decoders needs: a frozen encoder, HTS-AT under a small decoder; released students."""

import json

import pytest
import torch
from test_captioner import RATE, WORDS, captioner, clip
from test_captioning_teachers import SIZES, small_state_dict

from tinyclap.config.registry import build
from tinyclap.errors import CheckpointError
from tinyclap.features.front_ends import PRESETS
from tinyclap.models.encoders import ENCODERS
from tinyclap.models.htsat import Htsat
from tinyclap.published.captioners import Effb2Trm
from tinyclap.published.encoder_weights import EncoderWeights
from tinyclap.published.wavcaps import WavcapsHtsatBart
from tinyclap.teachers import make_teacher


def test_a_frozen_encoder_gets_no_gradient_and_keeps_its_statistics():
    model = captioner(freeze_encoder=True).train()
    before = {name: tensor.clone() for name, tensor in model.encoder.state_dict().items()}
    ids = torch.tensor([WORDS.encode("a dog barks")])
    _, logits = model([ids[:, :-1]], clip(1, 1.0)[None])
    logits[0].sum().backward()
    assert all(parameter.grad is None for parameter in model.encoder.parameters())
    assert model.decoder.word_embedding.weight.grad.abs().sum() > 0
    assert all(torch.equal(before[name], tensor) for name, tensor in model.encoder.state_dict().items())
    assert model.decoder.training and not any(module.training for module in model.encoder.modules())


def test_a_captioner_is_not_frozen_unless_it_says_so():
    model = captioner().train()
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(module.training for module in model.modules())


def test_a_frozen_captioner_is_rebuilt_from_its_config():
    model = captioner(freeze_encoder=True)
    rebuilt = build(json.loads(json.dumps(model.config)))
    assert rebuilt.freeze_encoder and not any(p.requires_grad for p in rebuilt.encoder.parameters())


def test_the_teacher_s_encoder_is_taken_out_of_its_published_file(tmp_path):
    torch.manual_seed(0)
    published = small_state_dict()
    torch.save({"model": published}, tmp_path / "HTSAT_BART.pt")
    teacher = WavcapsHtsatBart(**SIZES)
    teacher.load_state_dict({name: published[teacher.published_name(name)] for name in teacher.state_dict()})
    encoder = Htsat(**SIZES["htsat"])
    EncoderWeights(encoder, tmp_path / "HTSAT_BART.pt").load()
    log_mel = torch.randn(1, 300, 64)
    torch.testing.assert_close(encoder.eval()(log_mel).frames, teacher.encoder.eval()(log_mel).frames)
    with pytest.raises(CheckpointError, match="another shape|missing"):
        EncoderWeights(Htsat(**{**SIZES["htsat"], "width": 16}), tmp_path / "HTSAT_BART.pt").load()


def test_a_small_decoder_attends_to_the_frames_of_hts_at():
    sizes = {**SIZES["htsat"], "image_size": 64, "patch": 4, "window": 4}
    model = captioner("htsat", sizes, max_s=1.0, freeze_encoder=True)
    captions = model.caption([clip(0, 0.5), clip(1, 2.5)], RATE, max_words=4)
    assert len(captions) == 2 and all(len(caption.split()) <= 4 for caption in captions)


def test_every_encoder_has_a_front_end():
    assert {kind: cls.front_end for kind, cls in ENCODERS.items() if cls.front_end not in PRESETS} == {}


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """A file of the released captioners' names and sizes, and a vocabulary of as many words beside it."""
    folder = tmp_path_factory.mktemp("released")
    torch.manual_seed(0)
    network = Effb2Trm(n_words=20)
    state = {network.published_name(name): tensor for name, tensor in network.state_dict().items()}
    torch.save(state, folder / "pytorch_model.bin")
    words = ["<pad>", "<start>", "<end>", "<unk>", *(f"word{index}" for index in range(16))]
    (folder / "vocabulary.json").write_text(json.dumps(words))
    return folder, network.eval()


def test_a_released_student_says_what_its_network_says(released):
    folder, network = released
    teacher = make_teacher("effb2_trm", weights=folder / "pytorch_model.bin", max_words=6).load()
    wav = torch.randn(16000, generator=torch.Generator().manual_seed(3)) * 0.1
    rows, captions = teacher.targets([wav], 16000, ["clip", "caption"]).values()
    ids = network.generate([wav], 16000, max_words=6)[0].tolist()
    words = json.loads((folder / "vocabulary.json").read_text())
    assert captions == [" ".join(words[index] for index in ids[: (*ids, 2).index(2)] if index not in (0, 1))]
    torch.testing.assert_close(rows, network.captioner.embed_audio([wav], 16000))
    assert (teacher.embed_dim, teacher.sample_rate_hz) == (1408, 16000)
    assert sum(parameter.numel() for parameter in teacher.parameters()) == 11_443_650 - (4981 - 20) * 256


def test_a_released_student_is_known_by_its_weights_its_words_and_its_search(released, tmp_path):
    folder, _ = released
    identity = make_teacher("effb2_trm", weights=folder / "pytorch_model.bin").identity()
    assert set(identity) == {"kind", "weights_sha256", "vocabulary_sha256", "beam", "max_words"}
    assert make_teacher("effb2_trm", weights=folder / "pytorch_model.bin", beam=2).identity() != identity
    with pytest.raises(
        CheckpointError, match="no file .*other.json; a released captioner is its weights and its words"
    ):
        make_teacher("effb2_trm", weights=folder / "pytorch_model.bin", tokenizer=tmp_path / "other.json").load()

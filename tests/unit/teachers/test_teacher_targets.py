"""Targets of every kind of teacher: the same alone and in a batch, in one pass, in bfloat16, and what is refused."""

import contextlib

import pytest
import torch
from test_captioner import captioner
from test_captioning_teachers import write_wavcaps
from test_hf_clap import write_model
from test_tagger import write_tagger

from tests import tiny
from tinyclap.checkpoints.state import save_folder
from tinyclap.decoding.beam_search import WordChoices
from tinyclap.errors import AudioError, ConfigError
from tinyclap.features.front_ends import log_mel
from tinyclap.models.encoders import ENCODERS
from tinyclap.models.projection import LinearHead
from tinyclap.models.student import AudioStudent, Clap
from tinyclap.teachers import EnsembleTeacher, make_teacher
from tinyclap.teachers.precision import in_bf16

RATE = 16000


def make_clap(folder):
    return make_teacher("checkpoint", weights=tiny.saved_clap(folder))


def make_hf(folder):
    write_model(folder, fused=False)
    return make_teacher("hf_clap", weights=folder, local_files_only=True)


def make_tagger(folder):
    return make_teacher("tagger", weights=write_tagger(folder), width=0.1)


def make_captioner(folder):
    save_folder(captioner(max_s=3.0), folder / "student", {"seed": 0})
    return make_teacher("captioner", weights=folder, n_word_choices=3, max_words=6)


def make_wavcaps(folder):
    return make_teacher("wavcaps_htsat_bart", **write_wavcaps(folder), max_length=6)


def make_ensemble(folder):
    return EnsembleTeacher([make_clap(folder), make_clap(folder)])


MAKERS = [make_clap, make_hf, make_tagger, make_captioner, make_wavcaps, make_ensemble]


@pytest.fixture(scope="module", params=MAKERS, ids=lambda maker: maker.__name__.removeprefix("make_"))
def maker(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("teacher")
    return lambda: request.param(folder).load()


@pytest.fixture(scope="module")
def teacher(maker):
    return maker()


@pytest.fixture
def wavs():
    """Three clips of half a second, of other levels."""
    noise = torch.rand(3, RATE // 2, generator=torch.Generator().manual_seed(0)) - 0.5
    return noise * torch.tensor([[1.0], [0.3], [0.05]])


def assert_same(found, wanted):
    """Values of one column."""
    if isinstance(wanted, list):
        assert found == wanted
    elif isinstance(wanted, WordChoices):
        torch.testing.assert_close(found.log_probs, wanted.log_probs, atol=1e-4, rtol=1e-4)
    else:
        torch.testing.assert_close(found, wanted, atol=2e-5, rtol=1e-4)


def test_a_batch_a_list_and_a_clip_alone_give_the_same_targets(teacher, wavs):
    found = teacher.targets(wavs, RATE, teacher.columns)
    assert list(found) == list(teacher.columns)
    of_list = teacher.targets(list(wavs), RATE, teacher.columns)
    alone = teacher.targets(wavs[1:2], RATE, teacher.columns)
    for name, values in found.items():
        assert_same(of_list[name], values)
        row = WordChoices(*(part[1:2] for part in values)) if isinstance(values, WordChoices) else values[1:2]
        assert_same(alone[name], row)
    mixed = teacher.targets([wavs[0, :3000], wavs[1]], RATE)["clip"]
    torch.testing.assert_close(mixed[1], found["clip"][1], atol=2e-5, rtol=1e-4)


def test_each_column_is_what_its_name_promises(teacher, wavs):
    found = teacher.targets(wavs, RATE, teacher.columns)
    assert found["clip"].shape == (3, teacher.embed_dim) and found["clip"].dtype == torch.float32
    torch.testing.assert_close(found["clip"], teacher.embed_audio(wavs, RATE))
    if "frames" in found:
        assert found["frames"].ndim == 3 and len(found["frames"]) == 3 and found["middle"].ndim == 4
    if "tags" in found:
        assert found["tags"].min() >= 0 and found["tags"].max() <= 1
    if "caption" in found:
        assert found["caption"] == teacher.caption(wavs, RATE) and all(
            isinstance(text, str) for text in found["caption"]
        )
    assert not any(value.requires_grad for value in found.values() if isinstance(value, torch.Tensor))


def test_one_pass_gives_all_columns_and_a_column_alone_is_the_same(teacher, wavs):
    together = teacher.targets(wavs, RATE, teacher.columns)
    for name in teacher.columns:
        assert_same(teacher.targets(wavs, RATE, [name])[name], together[name])


def test_bfloat16_points_where_float32_does_and_is_told_apart(maker, teacher, wavs):
    low = maker().use_precision("bf16")
    ours, wanted = (one.targets(wavs, RATE)["clip"] for one in (low, teacher))
    minimum = 0.99 if teacher.kind == "captioner" else 0.999  # that of a random encoder of a few channels
    assert torch.cosine_similarity(ours, wanted).min() > minimum and not torch.equal(ours, wanted)
    assert ours.dtype == torch.float32
    assert low.identity()["precision"] == "bf16" and low.identity() != teacher.identity()


@pytest.mark.parametrize("make", [make_clap, make_hf, make_tagger, make_ensemble])
def test_no_target_of_a_batch_waits_for_the_device(make, tmp_path, monkeypatch):
    # Tensors without data raise where a value is read back, as a wait for the device would; they have no autocast.
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    teacher = make(tmp_path).load().to("meta")
    found = teacher.targets(torch.zeros(4, 8000, device="meta"), 11025, teacher.columns)
    assert {len(value) for value in found.values()} == {4}


def test_a_column_that_a_teacher_lacks_is_named_with_those_it_has(teacher, wavs):
    with pytest.raises(ConfigError, match=f"the {teacher.kind} teacher gives clip.*; not words"):
        teacher.targets(wavs, RATE, ["clip", "words"])
    if "caption" not in teacher.columns:
        with pytest.raises(ConfigError, match="not caption"):
            teacher.caption(wavs, RATE)
    else:
        with pytest.raises(ConfigError, match="embeds no text"):
            teacher.embed_text(["rain"])


@pytest.mark.parametrize(
    ("change", "rate", "error", "message"),
    [
        (lambda wavs: wavs.where(torch.arange(3)[:, None] != 1, torch.nan), RATE, AudioError, "clip 1 .*NaN"),
        (lambda wavs: [wavs[0], wavs[1] / 0], RATE, AudioError, "clip 1 .*infinite"),
        (lambda wavs: wavs[:0], RATE, AudioError, "the batch: holds no clip"),
        (lambda wavs: [], RATE, AudioError, "the batch: holds no clip"),
        (lambda wavs: [wavs[0], wavs[1, :0]], RATE, AudioError, "clip 1 .*no samples"),
        (lambda wavs: ["a.wav"], RATE, AudioError, "read the file first"),
        (lambda wavs: "a.wav", RATE, AudioError, "the batch: is not an array of samples .*str.*; read the file first"),
        (lambda wavs: None, RATE, AudioError, "the batch: is not an array of samples .*NoneType"),
        (lambda wavs: wavs, 0, ConfigError, "sample_rate_hz 0: give a positive whole number"),
        (lambda wavs: wavs, "16000", ConfigError, "sample_rate_hz '16000'"),
        (lambda wavs: wavs, 11025.5, ConfigError, "sample_rate_hz 11025.5"),
    ],
)
def test_clips_that_are_no_audio_are_named(teacher, wavs, change, rate, error, message):
    with pytest.raises(error, match=message):
        teacher.targets(change(wavs), rate)


@pytest.mark.parametrize("level", [0.0, 1e-6, 1.0])
def test_silence_faint_and_clipped_sounds_have_finite_targets(teacher, level):
    found = teacher.targets(torch.full((2, 4000), level), RATE)["clip"]
    assert found.isfinite().all() and torch.equal(found[0], found[1])


def test_maps_are_those_of_clips_of_one_window(tmp_path):
    teacher = make_clap(tmp_path).load()
    encode, wavs = teacher.model.audio, torch.rand(2, RATE) - 0.5
    found = teacher.targets(wavs, RATE, ["middle", "frames"])
    torch.testing.assert_close(found["frames"], encode(wavs).frames)
    torch.testing.assert_close(found["middle"], encode(wavs).middle)
    half = teacher.targets(wavs[:, : RATE // 2], RATE, ["frames", "middle"])
    tiled = encode(wavs[:, : RATE // 2].repeat(1, 2))
    n_frames, n_middle = -(-tiled.frames.shape[1] // 2), -(-tiled.middle.shape[2] // 2)
    torch.testing.assert_close(half["frames"], tiled.frames[:, :n_frames])
    torch.testing.assert_close(half["middle"], tiled.middle[:, :, :n_middle])
    with pytest.raises(ConfigError, match="one window, 1 s; these have 2 s"):
        teacher.targets(torch.rand(1, 2 * RATE), RATE, ["frames"])
    with pytest.raises(ConfigError, match="one length and one window; these have 0.5 to 1 s"):
        teacher.targets([wavs[0], wavs[1, : RATE // 2]], RATE, ["clip", "middle"])


@pytest.mark.parametrize("space", ["clap", "student"])
def test_an_encoder_without_a_middle_map_has_no_such_column_once_it_is_loaded(tmp_path, space):
    encoder = ENCODERS["cnn14"](n_mels=32, **SIZES["cnn14"])
    audio = AudioStudent(tiny.student().features, encoder, LinearHead(encoder.embed_dim, tiny.EMBED_DIM))
    side = {"kind": "tag_space", "labels": [f"label {index}" for index in range(tiny.EMBED_DIM)]}
    model = Clap(audio, tiny.clap().text) if space == "clap" else audio
    save_folder(model, tmp_path / "student", {"text_side": side})
    teacher = make_teacher("checkpoint", weights=tmp_path)
    assert teacher.columns == ("clip", "frames", "middle")
    assert teacher.load().columns == ("clip", "frames")
    with pytest.raises(ConfigError, match="gives clip, frames; not middle"):
        teacher.targets(torch.rand(1, RATE), RATE, ["clip", "middle"])
    assert teacher.use_precision("bf16").columns == ("clip", "frames")


SIZES = {
    "cnn14": {"channels": [16, 32, 64]},
    "htsat": {"width": 24, "depths": [1, 1, 2], "n_heads": [2, 2, 4]},
    "ced": {"width": 64, "n_layers": 3},
    "mn": {"width": 0.4},
    "phinet": {"alpha": 0.5, "embed_width": 256, "embed_stride": 1},
}


class OwnEncoder(torch.nn.Module):
    """An encoder of a user's own."""

    n_mels, embed_dim, frame_dim = 64, 8, 8

    def __init__(self):
        super().__init__()
        self.inner = ENCODERS["phinet"](alpha=0.35, n_layers=4, t_zero=2, embed_width=8, embed_stride=1)

    def forward(self, log_mel):
        """As that of a PhiNet, for levels that are counted in float32."""
        assert log_mel.dtype == torch.float32
        return self.inner(log_mel)


@pytest.mark.parametrize("kind", [*ENCODERS, "own"])
@torch.no_grad()
def test_every_encoder_gives_its_maps_in_bfloat16(kind):
    torch.manual_seed(5)
    features = log_mel("clap2022" if kind == "own" else ENCODERS[kind].front_end)
    encoder = OwnEncoder() if kind == "own" else ENCODERS[kind](n_mels=features.n_mels, **SIZES.get(kind, {}))
    student = AudioStudent(features, encoder, LinearHead(encoder.embed_dim, 32))
    wavs = torch.randn(3, features.sample_rate_hz) * torch.tensor([[0.02], [0.1], [0.5]])
    for _ in range(3):
        student.train()(wavs)
    wanted, ours = student.eval()(wavs), in_bf16(student)(wavs)
    for name in ("clip", "frames", "middle"):
        high, low = getattr(wanted, name), getattr(ours, name)
        if high is not None:
            assert low.dtype == torch.float32 and low.shape == high.shape
            assert torch.cosine_similarity(low.flatten(1), high.flatten(1)).min() > 0.999, name
    assert all(tensor.dtype == torch.float32 for tensor in student.parameters()), "the given one is left as it was"

"""An encoder or student of one's own is checked on a dummy batch: each fault is one line that says what to write."""

import copy
from functools import partial

import pytest
import torch
from small_encoders import SMALL
from torch import nn

from tinyclap.config import configurable
from tinyclap.errors import ConfigError
from tinyclap.features.front_ends import log_mel
from tinyclap.models.captioner import make_captioner
from tinyclap.models.check import check_encoder, check_student
from tinyclap.models.encoders import ENCODERS
from tinyclap.models.encoding import AudioEncoding, as_encoding
from tinyclap.models.projection import LinearHead
from tinyclap.models.student import AudioStudent, Clap
from tinyclap.models.text import WordTextTower

FEATURES = log_mel("clap2022", n_mels=16, hop_length=882)


@configurable
class Larch(nn.Module):
    """A sound encoder; each test below breaks one thing of it."""

    def __init__(self, n_mels=16, width=8):
        super().__init__()
        self.n_mels, self.embed_dim, self.frame_dim = n_mels, width, width
        self.norm = nn.BatchNorm1d(n_mels)
        self.linear = nn.Linear(n_mels, width)

    def forward(self, log_mel):
        frames = self.linear(self.norm(log_mel.transpose(1, 2)).transpose(1, 2))
        return as_encoding(frames.mean(1), frames)


def broken(**parts):
    """An object of a class like Larch with other attributes or methods."""
    return configurable(type("Bent", (Larch,), parts))()


def returning(change):
    return broken(forward=lambda self, log_mel: change(Larch.forward(self, log_mel)))


def test_a_sound_encoder_and_student_pass_and_stay_as_they_were():
    for model in (Larch(), AudioStudent(FEATURES, Larch(), LinearHead(8, 3), {"window_s": 0.5})):
        before, state = copy.deepcopy(model.state_dict()), torch.random.get_rng_state()
        check_encoder(model, FEATURES)
        assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
        assert model.training and torch.equal(state, torch.random.get_rng_state())
        assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("kind", SMALL)
def test_encoders_of_ours_pass(kind):
    encoder = ENCODERS[kind](**SMALL[kind])
    student = AudioStudent(log_mel("clap2022", n_mels=encoder.n_mels, hop_length=882), encoder)
    check_encoder(AudioStudent(student.features, encoder, window={"window_s": 1.0}))


def _grown(self):
    Larch.__init__(self)
    self.extra = nn.Linear(_grown.width, 1)
    _grown.width += 1


_grown.width = 1


def _dropping(self, log_mel):
    return Larch.forward(self, torch.dropout(log_mel, 0.5, True))


def _mixing(self, log_mel):
    return Larch.forward(self, log_mel - log_mel.mean(0))


def _overwriting(self, log_mel):
    return Larch.forward(self, log_mel.mul_(0.5))


def _long_only(self, log_mel):
    return Larch.forward(self, log_mel[:, :80].reshape(len(log_mel), 80, 16))


def _detached(self, log_mel):
    encoding = Larch.forward(self, log_mel)
    return encoding._replace(clip=encoding.clip.detach(), frames=encoding.frames.detach())


FAULTS = [
    (lambda: nn.Linear(16, 8), "encoder Linear: has no n_mels, embed_dim, frame_dim; set them in its constructor"),
    (lambda: Larch(n_mels=32), "gives 16 mel bands, the encoder Larch wants 32"),
    (lambda: type("Bare", (Larch,), {})(), "Bare cannot be saved: write @configurable above its class"),
    (lambda: broken(__init__=_grown), r"has other weights \(extra\.weight\); let the arguments decide"),
    (lambda: returning(lambda made: made.clip), "returns a Tensor; return tinyclap.models.encoding.as_encoding"),
    (lambda: returning(tuple), "returns a tuple; return"),
    (lambda: returning(lambda made: made._replace(clip=made.clip[:, :3])), r"clip is \(2, 3\), not .* \(2, 8\)"),
    (lambda: returning(lambda made: made._replace(frames=made.clip)), r"frames is \(2, 8\), not \(B, F, frame_dim\)"),
    (
        lambda: returning(lambda made: made._replace(n_frames=made.n_frames + 1)),
        "n_frames is no whole number from 1 to",
    ),
    (lambda: returning(lambda made: made._replace(middle=made.frames)), "middle is neither None nor a map"),
    (lambda: returning(lambda made: made._replace(clip=made.clip / 0)), "values that are not finite"),
    (lambda: broken(forward=_dropping), "a clip alone and in a batch gives different vectors"),
    (lambda: broken(forward=_mixing), "a clip alone and in a batch gives different vectors"),
    (lambda: broken(forward=_overwriting), "changes its input in place"),
    (lambda: broken(forward=_long_only), r"fails on log-mels \(2, 51, 16\) in eval mode: RuntimeError: shape"),
    (lambda: broken(forward=_detached), "no gradient reaches its parameters"),
    (lambda: broken(forward=lambda self: None), "fails on log-mels .* TypeError"),
]


@pytest.mark.parametrize(("make", "message"), FAULTS, ids=[message for _, message in FAULTS])
def test_each_fault_is_named_in_one_line(make, message):
    with pytest.raises(ConfigError, match=message) as caught:
        check_encoder(make(), FEATURES)
    assert "\n" not in str(caught.value)


def test_a_student_that_is_none_is_told_what_to_derive_from():
    with pytest.raises(ConfigError, match="student Linear: is no AudioStudent; give your encoder to"):
        check_encoder(nn.Linear(2, 2))


def test_a_head_without_widths_and_a_head_of_another_width_are_named():
    with pytest.raises(ConfigError, match="head ReLU: has no d_in, d_out"):
        AudioStudent(FEATURES, Larch(), nn.ReLU())
    with pytest.raises(ConfigError, match="gives 8 features, the head LinearHead wants 5"):
        AudioStudent(FEATURES, Larch(), LinearHead(5, 3))


def test_a_head_of_another_width_than_it_says_is_found():
    head = configurable(type("Leaf", (LinearHead,), {"forward": lambda self, clip: clip}))(8, 3)
    with pytest.raises(ConfigError, match=r"student AudioStudent: clip is \(2, 8\), not \(2, 3\)"):
        check_encoder(AudioStudent(FEATURES, Larch(), head, {"window_s": 0.5}))


def test_parameters_without_gradient_are_a_warning(caplog):
    check_encoder(broken(__init__=_idle), FEATURES)
    assert "Bent: 2 parameters get no gradient, such as idle.weight" in caplog.text


def _idle(self):
    Larch.__init__(self)
    self.idle = nn.Linear(1, 1)


def test_the_encoding_of_a_plain_namedtuple_is_enough():
    check_encoder(returning(lambda made: AudioEncoding(*made)), FEATURES)


def test_what_a_recipe_trains_is_checked_whatever_it_is():
    student = AudioStudent(FEATURES, Larch(), LinearHead(8, 8), {"window_s": 0.5})
    mixing = broken(forward=_mixing)
    bent = AudioStudent(FEATURES, mixing, LinearHead(8, 8), {"window_s": 0.5})
    text = WordTextTower(["a"], embed_dim=8, width=8)
    for sound in (student, Clap(student, text), partial(make_captioner, FEATURES, encoder=Larch()), None, nn.ReLU()):
        check_student(sound)
    to_be_built = partial(make_captioner, features=FEATURES, encoder=mixing, vocabulary="not there yet")
    for wrong in (bent, Clap(bent, text), to_be_built):
        with pytest.raises(ConfigError, match="encoder Bent: in eval mode a clip alone and in a batch"):
            check_student(wrong)

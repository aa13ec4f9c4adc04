"""Check of an encoder or student on one dummy batch, before any data or teacher work."""

import json
import logging

import torch

from tinyclap.config.registry import build
from tinyclap.errors import ConfigError
from tinyclap.models.encoding import AudioEncoding, check_attributes
from tinyclap.models.student import AudioStudent

_DURATION_S = 2.0  # of the dummy clips of an encoder that is checked without a student
_TOLERANCE = 1e-3  # relative, between a clip alone and in a batch
_RETURN = "return tinyclap.models.encoding.as_encoding(clip, frames)"
logger = logging.getLogger(__name__)


def check_encoder(model, features=None):
    """Check that an encoder or student trains, is saved and is rebuilt; `model` and the random state stay as they are.

    Arguments
    ---------
    model : nn.Module. An :class:`tinyclap.models.student.AudioStudent`, or an encoder with `features`.
    features : tinyclap.features.front_ends.LogMel, optional. The front end, for an encoder; a student has its own.

    Raises
    ------
    ConfigError: One line: what is missing or wrong, and what to write.

    Example
    -------
    >>> from tinyclap.features.front_ends import log_mel
    >>> check_encoder(torch.nn.Identity(), log_mel("clap2022"))
    Traceback (most recent call last):
    tinyclap.errors.ConfigError: encoder Identity: has no n_mels, embed_dim, frame_dim; set them in its constructor ...
    """
    is_student = isinstance(model, AudioStudent)
    if not is_student and features is None:
        raise ConfigError(
            f"student {type(model).__name__}: is no AudioStudent; give your encoder to tinyclap.models.student."
            "AudioStudent, or derive your student from that class"
        )
    encoder, features = (model.encoder, model.features) if is_student else (model, features)
    check_attributes(encoder, features.n_mels)
    duration_s = model.policy.window_s if is_student else _DURATION_S
    n_samples = max(1, round(duration_s * features.sample_rate_hz))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        again = _rebuilt(model)  # so that the model's own statistics do not move
        encoder = again.encoder if is_student else again
        wavs = 0.1 * torch.randn(2, n_samples)
        full, half = features(wavs), features(wavs[:, : -(-n_samples // 2)])
        _check_evaluation(encoder, full)
        _check_evaluation(encoder, half)
        _check_training(encoder, half)
        if is_student:
            with torch.no_grad():
                clip = again.eval()(log_mel=half).clip
            _expect(
                again, clip.shape == (2, again.embed_dim), f"clip is {tuple(clip.shape)}, not (2, {again.embed_dim})"
            )


def check_student(student):
    """:func:`check_encoder` of what a recipe trains: a student or Clap, or a captioner, built or to be built.

    `student` is a module, or a function with its arguments (``!name:``); one without an encoder of audio is left alone.
    """
    student = getattr(student, "audio", student)  # of a Clap
    if isinstance(student, AudioStudent):
        check_encoder(student)
        return
    parts = getattr(student, "keywords", None) or {
        name: getattr(student, name, None) for name in ("encoder", "features")
    }
    if parts.get("encoder") is not None and parts.get("features") is not None:
        check_encoder(parts["encoder"], parts["features"])


def _rebuilt(model):
    """A new object from what a checkpoint's config.json would hold."""
    name = type(model).__name__
    if not isinstance(getattr(type(model), "config", None), property):
        raise ConfigError(f"{name}: cannot be saved; write @configurable (of tinyclap.config) above its class")
    again = build(json.loads(json.dumps(model.config)))
    ours, theirs = ({key: tensor.shape for key, tensor in each.state_dict().items()} for each in (model, again))
    other = sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))
    if other:
        raise ConfigError(
            f"{name}: rebuilt from its constructor's arguments it has other weights ({', '.join(other[:3])}); let the "
            "arguments decide them all, and leave lists that are passed in unchanged"
        )
    return again


@torch.no_grad()
def _check_evaluation(encoder, log_mel):
    encoder.eval()
    encoding = _encode(encoder, log_mel)
    alone = _encode(encoder, log_mel[:1])
    distance = (encoding.clip[:1] - alone.clip).norm()
    _expect(
        encoder,
        distance <= _TOLERANCE * alone.clip.norm().clamp(min=1e-6),
        "in eval mode a clip alone and in a batch gives different vectors; let nothing mix clips, and drop nothing out",
    )


def _check_training(encoder, log_mel):
    encoder.train()
    encoding = _encode(encoder, log_mel)
    trained = {name: each for name, each in encoder.named_parameters() if each.requires_grad}
    if not trained:
        return
    loss = encoding.clip.square().mean() + encoding.frames.square().mean()
    _expect(encoder, loss.requires_grad, "in training no gradient reaches its parameters; do not detach its output")
    loss.backward()
    idle = [name for name, each in trained.items() if each.grad is None]
    _expect(encoder, len(idle) < len(trained), "in training no gradient reaches its parameters; do not detach them")
    if idle:
        logger.warning("%s: %d parameters get no gradient, such as %s", type(encoder).__name__, len(idle), idle[0])


def _encode(encoder, log_mel):
    """Encode a batch, and check what comes out."""
    mode = "training" if encoder.training else "eval"
    given = log_mel.clone()
    try:
        encoding = encoder(given)
    except Exception as error:  # an encoder of one's own raises anything
        reason = (str(error).strip().splitlines() or [""])[0]
        what = f"log-mels {tuple(log_mel.shape)} in {mode} mode: {type(error).__name__}: {reason}"
        raise ConfigError(f"encoder {type(encoder).__name__}: fails on {what}") from error
    _expect(encoder, torch.equal(given, log_mel), "changes its input in place; work on a copy of log_mel")
    _expect(encoder, isinstance(encoding, AudioEncoding), f"returns a {type(encoding).__name__}; {_RETURN}")
    n_clips = len(log_mel)
    clip, frames, n_frames, middle = encoding
    wanted = (n_clips, encoder.embed_dim)
    _expect(encoder, clip.shape == wanted, f"clip is {tuple(clip.shape)}, not (B, embed_dim) = {wanted}")
    fits = frames.ndim == 3 and frames.shape[1] > 0 and frames.shape == (n_clips, frames.shape[1], encoder.frame_dim)
    _expect(
        encoder, fits, f"frames is {tuple(frames.shape)}, not (B, F, frame_dim) = ({n_clips}, F, {encoder.frame_dim})"
    )
    fits = n_frames.shape == (n_clips,) and not n_frames.is_floating_point()
    fits = fits and bool(((n_frames >= 1) & (n_frames <= frames.shape[1])).all())
    _expect(encoder, fits, f"n_frames is no whole number from 1 to {frames.shape[1]} for each clip; {_RETURN}")
    is_map = middle is None or middle.ndim == 4 and len(middle) == n_clips
    _expect(encoder, is_map, "middle is neither None nor a map (B, C, F, M)")
    finite = all(bool(each.isfinite().all()) for each in (clip, frames))
    _expect(encoder, finite, f"gives values that are not finite on log-mels {tuple(log_mel.shape)} in {mode} mode")
    return encoding


def _expect(model, holds, message):
    if not holds:
        kind = "student" if isinstance(model, AudioStudent) else "encoder"
        raise ConfigError(f"{kind} {type(model).__name__}: {message}")

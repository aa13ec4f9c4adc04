"""An audio encoder by its name: what lets a recipe change its encoder by one line."""

from tinyclap.errors import ConfigError
from tinyclap.models.cnn14 import Cnn14
from tinyclap.models.efficientnet import EfficientNetB2
from tinyclap.models.mobilenet import MobileNet
from tinyclap.models.phinet import PhiNet

ENCODERS = {"effb2": EfficientNetB2, "phinet": PhiNet, "mn": MobileNet, "cnn14": Cnn14}
# Without tags: a captioner has no use for a tagger's classifier.
_DEFAULTS = {"phinet": {"embed_width": 256, "embed_stride": 1}, "mn": {"n_tags": 0}, "cnn14": {"n_tags": 0}}


def make_encoder(kind, n_mels, more=None, sizes=None):
    """An encoder, from log-mel (B, F, M) to :class:`tinyclap.models.encoding.AudioEncoding`.

    Arguments
    ---------
    kind : {"effb2", "phinet", "mn", "cnn14"}
    n_mels : int
        Mel bands M of the front end.
    more : dict, optional
        Further arguments of its class: ``{"alpha": 0.5}`` of a PhiNet, ``{"width": 0.4}`` of an mn.
    sizes : dict, optional
        A recipe's own defaults, kind → arguments; `more` goes before them.

    Returns
    -------
    torch.nn.Module
        With ``embed_dim``, ``frame_dim`` and ``n_mels``.

    Raises
    ------
    ConfigError
        The kind is unknown, or its class takes no such argument.

    Example
    -------
    >>> make_encoder("phinet", 64, {"alpha": 0.5}).frame_dim
    256
    """
    if kind not in ENCODERS:
        raise ConfigError(f"encoder {kind!r} is unknown; choose one of {', '.join(ENCODERS)}")
    arguments = {**_DEFAULTS.get(kind, {}), **(sizes or {}).get(kind, {}), **(more or {})}
    try:
        return ENCODERS[kind](n_mels=n_mels, **arguments)
    except TypeError as error:
        raise ConfigError(f"encoder {kind!r}: {error}") from error

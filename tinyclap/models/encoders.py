"""Audio encoders by name."""

from tinyclap.errors import ConfigError
from tinyclap.models.ced import Ced
from tinyclap.models.cnn14 import Cnn14
from tinyclap.models.efficientnet import EfficientNetB2
from tinyclap.models.htsat import Htsat
from tinyclap.models.mobilenet import MobileNet
from tinyclap.models.phinet import PhiNet

ENCODERS = {"effb2": EfficientNetB2, "phinet": PhiNet, "mn": MobileNet, "cnn14": Cnn14, "htsat": Htsat, "ced": Ced}
_DEFAULTS = {
    "phinet": {"embed_width": 256, "embed_stride": 1},
    **{kind: {"n_tags": 0} for kind in ("mn", "cnn14", "htsat")},
}


def make_encoder(kind, n_mels, more=None, sizes=None):
    """An encoder, from log-mel (B, F, M) to :class:`tinyclap.models.encoding.AudioEncoding`.

    Arguments
    ---------
    kind : {"effb2", "phinet", "mn", "cnn14", "htsat", "ced"}
    n_mels : int. M.
    more : dict, optional. Further arguments of its class: ``{"alpha": 0.5}`` of a PhiNet, ``{"width": 0.4}`` of an mn.
    sizes : dict, optional. A recipe's defaults, kind → arguments, which `more` overrides.
    """
    if kind not in ENCODERS:
        raise ConfigError(f"encoder {kind!r} is unknown; choose one of {', '.join(ENCODERS)}")
    arguments = {**_DEFAULTS.get(kind, {}), **(sizes or {}).get(kind, {}), **(more or {})}
    try:
        return ENCODERS[kind](n_mels=n_mels, **arguments)
    except TypeError as error:
        raise ConfigError(f"encoder {kind!r}: {error}") from error


def front_end_of(kind):
    """The front end of a kind of encoder, a preset of :func:`tinyclap.features.log_mel`."""
    return ENCODERS[kind].front_end

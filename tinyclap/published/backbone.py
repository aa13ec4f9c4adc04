"""Students that begin as a published tagger, with fewer channels and blocks and coarser frames."""

import os

from tinyclap.errors import CheckpointError
from tinyclap.features.front_ends import log_mel
from tinyclap.models.mobilenet import MobileNet, narrowed, shortened
from tinyclap.models.projection import MlpHead
from tinyclap.models.student import AudioStudent
from tinyclap.published.networks import load_published


def trunk_student(
    weights: str | os.PathLike[str],
    width: float = 0.4,
    fraction: float = 0.85,
    n_blocks: int | None = None,
    hop_length: int = 640,
    window_s: float = 10.0,
    min_s: float = 2.0,
    batchnorm_momentum: float = 0.05,
) -> AudioStudent:
    """Cut an AudioStudent out of a published tagger; its ``clip`` is the probability of each tag, (B, 527).

    Arguments
    ---------
    weights : str or os.PathLike. State dict of an EfficientAT "mn" network, of `width`.
    width, fraction : float. `fraction` of every block's expanded channels are kept, in (0, 1].
    n_blocks : int, optional. Blocks that are kept, of 15.
    hop_length : int. Samples between frames; the tagger's own is 320. Doubling it halves the cost of every block.
    window_s, min_s : float. Maximum and minimum length of an input, in seconds.
    batchnorm_momentum : float
    """
    backbone = load_published("efficientat-mn", path=weights, width=width).audio.encoder
    hidden, out = backbone.classifier[0], backbone.classifier[-1]
    head = MlpHead(hidden.in_features, hidden.out_features, out.out_features, dropout=0.0, activation="hardswish")
    head.linear1.load_state_dict(hidden.state_dict())
    head.linear2.load_state_dict(out.state_dict())
    if n_blocks is not None:
        backbone = shortened(backbone, n_blocks)
    if fraction < 1:
        backbone = narrowed(backbone, fraction)
    sizes = {name: value for name, value in backbone.config.items() if name != "type"}
    encoder = MobileNet(**{**sizes, "n_tags": 0, "batchnorm_momentum": batchnorm_momentum})
    kept = {name: tensor for name, tensor in backbone.state_dict().items() if not name.startswith("classifier.")}
    if set(kept) != set(encoder.state_dict()):
        raise CheckpointError(f"{weights}: does not fit its own backbone")
    encoder.load_state_dict(kept)
    window = {"window_s": window_s, "short": "native", "min_s": min_s}
    return AudioStudent(log_mel("efficientat", hop_length=hop_length), encoder, head, window, output="sigmoid")

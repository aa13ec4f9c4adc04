"""Students that start from a tagger's own trunk, made narrower, shorter and coarser in time."""

from tinyclap.checkpoints.state import sha256_of
from tinyclap.errors import CheckpointError
from tinyclap.features.log_mel import log_mel
from tinyclap.models.mobilenet import MobileNet
from tinyclap.models.projection import MlpHead
from tinyclap.models.pruning import narrowed, shortened
from tinyclap.models.student import AudioStudent
from tinyclap.published.networks import load_published


def trunk_student(
    weights, width=0.4, fraction=0.85, n_blocks=None, hop_length=640, window_s=10.0, min_s=2.0, batchnorm_momentum=0.05
):
    """A student cut out of a published tagger.

    Arguments
    ---------
    weights : str or os.PathLike
        State dict of an EfficientAT "mn" network.
    width : float
        Its width.
    fraction : float
        Share of every block's expanded channels that is kept, in (0, 1].
    n_blocks : int, optional
        How many of the 15 blocks are kept.
    hop_length : int
        Samples between frames; the tagger's own is 320. Doubling it halves the cost of every block.
    window_s, min_s : float
        Longest and shortest input, in seconds.
    batchnorm_momentum : float

    Returns
    -------
    AudioStudent
        Its ``clip`` is the probability of each tag, of shape (B, 527).

    Raises
    ------
    CheckpointError
        The file is missing or no such network.
    """
    trunk = load_published("efficientat-mn", path=weights, width=width).audio.encoder
    hidden, out = trunk.classifier[0], trunk.classifier[-1]
    head = MlpHead(hidden.in_features, hidden.out_features, out.out_features, dropout=0.0, activation="hardswish")
    head.linear1.load_state_dict(hidden.state_dict())
    head.linear2.load_state_dict(out.state_dict())
    if n_blocks is not None:
        trunk = shortened(trunk, n_blocks)
    if fraction < 1:
        trunk = narrowed(trunk, fraction)
    encoder = MobileNet(**{**_arguments(trunk), "n_tags": 0, "batchnorm_momentum": batchnorm_momentum})
    kept = {name: tensor for name, tensor in trunk.state_dict().items() if not name.startswith("classifier.")}
    if set(kept) != set(encoder.state_dict()):
        raise CheckpointError(f"{weights} ({sha256_of(weights)[:12]}) does not fit its own trunk")
    encoder.load_state_dict(kept)
    features = log_mel("efficientat", hop_length=hop_length)
    window = {"window_s": window_s, "short": "native", "min_s": min_s}
    return AudioStudent(features, encoder, head, window, output="sigmoid")


def _arguments(module):
    return {name: value for name, value in module.config.items() if name != "type"}

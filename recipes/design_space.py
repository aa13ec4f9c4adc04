"""Students that can be trained here and what each costs, by formulas: no network is built.

Every sum follows :class:`tinyclap.models.phinet.PhiNet`, :class:`tinyclap.models.mobilenet.MobileNet`, the heads and
:meth:`tinyclap.models.student.AudioStudent.fold` in the order in which they run, also the moments at which maps are
dropped; the tests hold it against the networks themselves, number for number.
"""

from functools import cache
from typing import NamedTuple

from tinyclap.features.front_ends import log_mel
from tinyclap.models.encoders import ENCODERS
from tinyclap.models.encoding import make_divisible
from tinyclap.models.mobilenet import _BLOCKS, _LAST_EXPANSION, _STEM_WIDTH
from tinyclap.models.projection import make_head
from tinyclap.models.student import AudioStudent

HEADS = ("clap", "linear", "mlp")
N_BYTES = 4  # of a float32
MLP_WIDTH = 512  # make_head's own
N_FIXED = 3  # blocks of every PhiNet


class Cost(NamedTuple):
    """What a part of a student, or all of it, costs.

    Attributes
    ----------
    n_parameters : int
    n_macs : int
        Of one clip: convolutions and linear layers, as the paper counts.
    peak_bytes : int
        Of activations in float32 that are alive at once, from the log-mel spectrogram on, for one clip.
    """

    n_parameters: int
    n_macs: int
    peak_bytes: int = 0


class Design(NamedTuple):
    """One student.

    Attributes
    ----------
    family : {"phinet", "mn"}
    encoder : tuple of (str, object)
        Arguments of the encoder by name; of a PhiNet without `embed_width`.
    embed_width : int or None
        The 1×1 convolution of a PhiNet before pooling; None leaves it out.
    hop_length : int
        Samples between frames, at the rate of the family's front end.
    head : {"clap", "linear", "mlp"}
    embed_dim : int
        D, the teacher's.
    """

    family: str
    encoder: tuple
    embed_width: int | None
    hop_length: int
    head: str
    embed_dim: int


class _Walk:
    """Sums over the layers that were gone through, and the map's size after the last of them."""

    def __init__(self, folded, height, width):
        # A norm that is not folded has two vectors instead of a bias, and makes its result beside its input.
        self.copies = 1 if folded else 2
        self.height, self.width = height, width
        self.n_parameters = self.n_macs = self.held = self.peak = 0

    def conv(self, n_in, n_out, kernel=1, stride=1, n_padded=None, normed=True):
        """A convolution (each channel for itself where `n_in` is 1) and its norm; the numbers of its map."""
        more = (kernel - 1 if n_padded is None else n_padded) - kernel
        self.height, self.width = (self.height + more) // stride + 1, (self.width + more) // stride + 1
        n_weights = n_in * n_out * kernel * kernel
        self.n_parameters += n_weights + (self.copies * n_out if normed else 0)
        self.n_macs += n_weights * self.height * self.width
        return n_out * self.height * self.width

    def alive(self, *numbers):
        """So many numbers are in memory, beside those that are held."""
        self.peak = max(self.peak, self.held + sum(numbers))


@cache
def front_end(family, hop_length):
    """The front end of a family's students."""
    return log_mel(ENCODERS[family].front_end, hop_length=hop_length)


def spectrogram_of(family, hop_length, clip_s):
    """Frames F and mel bands M of a clip of `clip_s` seconds."""
    features = front_end(family, hop_length)
    return features.n_frames(round(clip_s * features.sample_rate_hz)), features.n_mels


def phinet_blocks(alpha, beta, t_zero, n_layers):
    """(id, stride, expansion, width before, width after) of the blocks 1 to N; widths before they are truncated."""
    n_in = n_out = 24
    for block in range(1, max(n_layers, N_FIXED) + 1):
        n_out = 48 if block == N_FIXED else n_out * 2 if block in (5, 7) else n_out
        expansion = t_zero * beta * block / n_layers + t_zero * (n_layers - block) / n_layers
        yield block, 2 if block in (1, 3, 5, 7) else 1, expansion, n_in * alpha, n_out * alpha
        n_in = n_out


def _phinet(walk, alpha, beta, t_zero, n_layers, squeeze_excite=False, h_swish=False):
    """Go through a PhiNet up to its last block; the width of that."""
    n_spectrogram = walk.height * walk.width
    walk.n_parameters = 2 * walk.width  # the norm on mel bins
    walk.held = 2 * n_spectrogram  # the input, and what that norm made of it
    padded = (walk.height + 1) * (walk.width + 1)
    n_read = walk.conv(1, 1, 3, 2, n_padded=1, normed=False)
    n_stem = max(1, int(48 * alpha))
    map_ = walk.conv(1, n_stem)
    walk.alive(padded, n_read + map_)
    walk.alive(padded, walk.copies * map_)
    map_ = _phinet_block(walk, map_, n_stem, None, int(24 * alpha), 1, False)
    last_halving = max(block for block in (3, 5, 7) if block <= max(n_layers, N_FIXED))
    for block, stride, expansion, n_in, n_out in phinet_blocks(alpha, beta, t_zero, n_layers):
        if block == last_halving:
            walk.held = n_spectrogram
        before, hidden = map_, int(expansion * int(n_in))
        map_ = _phinet_block(walk, map_, int(n_in), hidden, int(n_out), stride, squeeze_excite)
        if block == last_halving:
            walk.held += before  # it is given to those who want the middle map
    return int(n_out)


def _phinet_block(walk, map_, n_in, n_hidden, n_out, stride, squeeze_excite):
    """Go through an inverted residual, without expansion where `n_hidden` is None; the numbers of its map."""
    wide = 0
    if n_hidden is not None:
        wide = walk.conv(n_in, n_hidden)
        walk.alive(map_, walk.copies * wide)
    n_hidden = n_hidden or n_in
    deep = walk.conv(1, n_hidden, 3, stride)
    walk.alive(map_, wide + deep)
    walk.alive(map_, walk.copies * deep)
    if squeeze_excite:
        n_squeeze = max(1, n_hidden // 6)
        walk.n_parameters += 2 * n_hidden * n_squeeze
        walk.n_macs += 2 * n_hidden * n_squeeze
        walk.alive(map_, 2 * deep + n_squeeze + n_hidden)
    out = walk.conv(n_hidden, n_out)
    walk.alive(map_, deep + out)
    walk.alive(map_, walk.copies * out)
    if stride == 1 and n_in == n_out and wide:
        walk.alive(map_, 2 * out)
    return out


def _mobilenet(walk, width):
    """Go through an mn up to its last convolution; the width of that."""
    n_spectrogram = walk.held = walk.height * walk.width
    n_in = make_divisible(_STEM_WIDTH * width)
    map_ = walk.conv(1, n_in, 3, 2)
    walk.alive(2 * map_)  # activations are not in place
    last_halving = max(index for index, row in enumerate(_BLOCKS) if row[5] == 2)
    for index, (kernel, expanded, n_out, squeeze, _, stride) in enumerate(_BLOCKS):
        n_hidden, n_out, before = make_divisible(expanded * width), make_divisible(n_out * width), map_
        map_ = _mobilenet_block(walk, map_, n_in, n_hidden, n_out, kernel, stride, squeeze, index > 0)
        if index == last_halving:
            walk.held = n_spectrogram + before
        n_in = n_out
    n_out = _LAST_EXPANSION * make_divisible(_BLOCKS[-1][2] * width)
    walk.alive(map_, 2 * walk.conv(n_in, n_out))
    return n_out


def _mobilenet_block(walk, map_, n_in, n_hidden, n_out, kernel, stride, squeeze, expand):
    """Go through an inverted residual; the numbers of its map."""
    wide = 0
    if expand:
        wide = walk.conv(n_in, n_hidden)
        walk.alive(map_, 2 * wide)
    deep = walk.conv(1, n_hidden, kernel, stride)
    walk.alive(map_, wide, 2 * deep)
    if squeeze:
        n_squeeze = make_divisible(n_hidden // 4)
        walk.n_parameters += 2 * n_hidden * n_squeeze + n_hidden + n_squeeze
        walk.n_macs += 2 * n_hidden * n_squeeze
        walk.alive(map_, 2 * deep + n_hidden)
    out = walk.conv(n_hidden, n_out)
    walk.alive(map_, deep, walk.copies * out)
    if stride == 1 and n_in == n_out:
        walk.alive(map_, 2 * out)
    return out


class Backbone(NamedTuple):
    """An encoder without a PhiNet's last convolution: cost, size of its map, numbers that are held beside the map."""

    cost: Cost
    n_channels: int
    height: int
    width: int
    n_held: int


def backbone(family, encoder, spectrogram, folded=False):
    """Cost of an encoder, without the 1×1 convolution at the end of a PhiNet.

    Arguments
    ---------
    family : {"phinet", "mn"}
    encoder : dict
        Arguments of the encoder by name.
    spectrogram : (int, int)
        Frames F and mel bands M.
    folded : bool
        Of the folded form, which is what runs on a device.

    Returns
    -------
    Backbone

    Example
    -------
    >>> headline = {"alpha": 1.5, "beta": 0.75, "t_zero": 6, "n_layers": 7}
    >>> backbone("phinet", headline, (690, 64)).cost.n_parameters
    694899
    """
    walk = _Walk(folded, *spectrogram)
    n_channels = (_phinet if family == "phinet" else _mobilenet)(walk, **encoder)
    cost = Cost(walk.n_parameters, walk.n_macs, N_BYTES * walk.peak)
    return Backbone(cost, n_channels, walk.height, walk.width, walk.held)


def ending(body, embed_width, head, embed_dim, folded=False):
    """Cost of what follows a backbone: the 1×1 convolution (if any) and the head.

    Arguments
    ---------
    body : Backbone
    embed_width : int or None
    head : {"clap", "linear", "mlp"}
    embed_dim : int
    folded : bool
        The convolution and the head's first map are one then.

    Returns
    -------
    Cost

    Example
    -------
    >>> body = Backbone(Cost(0, 0), 288, 22, 2, 0)
    >>> ending(body, 2048, "clap", 1024).n_parameters
    3739648
    """
    n_parameters = n_macs = 0
    n_in, height, width = body.n_channels, body.height, body.width
    n_before, n_map = 0, n_in * height * width
    if embed_width is not None:
        height, width = -(-height // 2), -(-width // 2)
        if not folded:
            n_parameters, n_macs = (n_in + 1) * embed_width, n_in * embed_width * height * width
            n_in, n_before, n_map = embed_width, n_map, embed_width * height * width
    n_pooled = n_in * height + n_in + 2  # frames, clip, and how many frames there are, in eight bytes
    first = MLP_WIDTH if head == "mlp" else embed_dim
    second = 0 if head == "linear" else first * embed_dim
    n_vectors = {"linear": embed_dim, "mlp": MLP_WIDTH + embed_dim, "clap": 2 * embed_dim}[head]
    if folded and embed_width is not None and head == "clap":
        n_vectors += embed_dim  # the convolution's bias
    n_parameters += n_in * first + second + n_vectors
    n_alive = body.n_held + n_map + max(n_before, n_pooled)
    return Cost(n_parameters, n_macs + n_in * first + second, N_BYTES * n_alive)


def cost_of(design, clip_s=5.0, folded=False):
    """Cost of a whole student; see :class:`Cost`.

    Example
    -------
    >>> headline = (("alpha", 1.5), ("beta", 0.75), ("t_zero", 6), ("n_layers", 7))
    >>> cost_of(Design("phinet", headline, 2048, 320, "clap", 1024)).n_parameters
    4434547
    """
    spectrogram = spectrogram_of(design.family, design.hop_length, clip_s)
    body = backbone(design.family, dict(design.encoder), spectrogram, folded)
    return joined(body.cost, ending(body, design.embed_width, design.head, design.embed_dim, folded))


def joined(first, second):
    """Cost of two parts that run one after the other."""
    return Cost(first[0] + second[0], first[1] + second[1], max(first[2], second[2]))


def build(design, clip_s=5.0, folded=False):
    """The student itself, with random weights, in eval mode."""
    features = front_end(design.family, design.hop_length)
    is_phinet = design.family == "phinet"
    sizes = {"embed_width": design.embed_width, "embed_stride": 2} if is_phinet else {"n_tags": 0}
    encoder = ENCODERS[design.family](n_mels=features.n_mels, **{**dict(design.encoder), **sizes})
    head = make_head(encoder, design.head, design.embed_dim)
    student = AudioStudent(features, encoder, head, window={"window_s": clip_s, "short": "tile"}).eval()
    return student.fold() if folded else student

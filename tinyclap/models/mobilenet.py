"""MobileNetV3 "mn" of EfficientAT, an AudioSet tagger of any width, and pruning of trained ones in width and depth.

Source: Schmid, Koutini & Widmer, "Efficient Large-Scale Audio Tagging via Transformer-to-CNN Knowledge Distillation",
ICASSP 2023; Howard et al., "Searching for MobileNetV3", ICCV 2019, table 1. Equal to the released mn04 … mn40. Pruning
is ours, in the spirit of Molchanov et al., "Importance Estimation for Neural Network Pruning", CVPR 2019.
"""

import copy

import torch
from torch import nn

from tinyclap.config.registry import build, configurable
from tinyclap.errors import ConfigError
from tinyclap.models.encoding import as_encoding, evaluating, first_channels, last_halving, make_divisible

# kernel, expanded width, width, squeeze-excite, hard-swish (else ReLU), stride: MobileNetV3-Large at width 1.
_BLOCKS = (
    (3, 16, 16, False, False, 1),
    (3, 64, 24, False, False, 2),
    (3, 72, 24, False, False, 1),
    (5, 72, 40, True, False, 2),
    (5, 120, 40, True, False, 1),
    (5, 120, 40, True, False, 1),
    (3, 240, 80, False, True, 2),
    (3, 200, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 480, 112, True, True, 1),
    (3, 672, 112, True, True, 1),
    (5, 672, 160, True, True, 2),
    (5, 960, 160, True, True, 1),
    (5, 960, 160, True, True, 1),
)
_STEM_WIDTH, _HEAD_WIDTH, _LAST_EXPANSION = 16, 1280, 6


@configurable
class MobileNet(nn.Module):
    """EfficientAT's "mn": stem, inverted residuals, last convolution, mean over the map, classifier of tags.

    Arguments
    ---------
    width : float. Multiplier of all widths, rounded to multiples of 8 (0.4 for mn04, 1.0 for mn10).
    n_tags : int. Classes of the tagging head; 0 leaves it out.
    hidden_channels : list of int or None. Expanded width of each block of a narrowed network (the first: the stem's).
    n_blocks : int or None. Keep the first of the 15 blocks only.
    n_mels : int. Mel bands M that it is built for; any number works.
    dropout : float. Before the last linear map of the tagging head.
    batchnorm_momentum : float

    Notes
    -----
    Input (B, F, M) is transposed to (B, 1, M, F), as the published kernels are; any F ≥ 1. ``embed_dim`` is 6 times the
    last width at this multiplier (384 for 0.4), also with fewer blocks.

    Example
    -------
    >>> mn04 = MobileNet(width=0.4).eval()
    >>> mn04.tag_logits(mn04(torch.zeros(2, 100, 128)).clip).shape
    torch.Size([2, 527])
    """

    front_end = "efficientat"

    def __init__(
        self,
        width=1.0,
        n_tags=527,
        hidden_channels=None,
        n_blocks=None,
        n_mels=128,
        dropout=0.2,
        batchnorm_momentum=0.01,
    ):
        super().__init__()
        n_blocks = len(_BLOCKS) if n_blocks is None else n_blocks
        if not 1 <= n_blocks <= len(_BLOCKS):
            raise ConfigError(f"n_blocks is 1 to {len(_BLOCKS)}, not {n_blocks}")
        rows = _BLOCKS[:n_blocks]
        published = [make_divisible(row[1] * width) for row in rows]
        hidden_channels = published if hidden_channels is None else list(hidden_channels)
        if len(hidden_channels) != n_blocks or hidden_channels[0] != published[0] or min(hidden_channels) < 1:
            wanted = f"{n_blocks} widths >= 1, the first {published[0]}"
            raise ConfigError(f"hidden_channels needs {wanted}: {hidden_channels}")
        self.n_mels = n_mels
        self.embed_dim = self.frame_dim = _LAST_EXPANSION * make_divisible(_BLOCKS[-1][2] * width)
        norm = {"eps": 1e-3, "momentum": batchnorm_momentum}

        n_channels = make_divisible(_STEM_WIDTH * width)
        layers = [_conv_norm(1, n_channels, 3, norm, nn.Hardswish, stride=2)]
        for index, (row, hidden) in enumerate(zip(rows, hidden_channels, strict=True)):
            kernel, expanded, n_out, squeeze, swish, stride = row
            n_out = make_divisible(n_out * width)
            # The gate's inner width stays that of the published block when the expansion is narrower.
            n_squeeze = make_divisible(make_divisible(expanded * width) // 4) if squeeze else 0
            activation = nn.Hardswish if swish else nn.ReLU
            layers.append(_Block(n_channels, hidden, n_out, kernel, stride, n_squeeze, activation, norm, index > 0))
            n_channels = n_out
        layers.append(_conv_norm(n_channels, self.embed_dim, 1, norm, nn.Hardswish))
        self.features = nn.ModuleList(layers)
        if n_tags:
            d_head = make_divisible(_HEAD_WIDTH * width)
            self.classifier = nn.Sequential(
                nn.Linear(self.embed_dim, d_head), nn.Hardswish(), nn.Dropout(dropout), nn.Linear(d_head, n_tags)
            )
        self.apply(_initialise)
        self._last_halving = last_halving(self.features)
        self.n_middle = first_channels(self.features[self._last_halving :])

    @property
    def blocks(self):
        """The inverted-residual blocks, in order."""
        return self.features[1:-1]

    def forward(self, log_mel):
        """Encode log-mel spectrograms (B, F, M): clip (B, embed_dim), frames (B, ~F/32, embed_dim)."""
        feature_map = log_mel.transpose(1, 2).unsqueeze(1)
        for index, layer in enumerate(self.features):
            if index == self._last_halving:
                middle = feature_map.transpose(2, 3)
            feature_map = layer(feature_map)
        return as_encoding(feature_map.mean((2, 3)), feature_map.mean(2).transpose(1, 2), middle)

    def tag_logits(self, clip):
        """(B, embed_dim) → logits (B, n_tags)."""
        if not hasattr(self, "classifier"):
            raise ConfigError("this MobileNet was built with n_tags=0: it has no tagging head")
        return self.classifier(clip)


class _Block(nn.Module):
    """Inverted residual: expand, depthwise, squeeze-excite, project; skip where shapes allow."""

    def __init__(self, n_in, n_hidden, n_out, kernel, stride, n_squeeze, activation, norm, expand):
        super().__init__()
        layers = [_conv_norm(n_in, n_hidden, 1, norm, activation)] if expand else []
        layers.append(_conv_norm(n_hidden, n_hidden, kernel, norm, activation, stride=stride, groups=n_hidden))
        if n_squeeze:
            layers.append(_SqueezeExcite(n_hidden, n_squeeze))
        layers.append(_conv_norm(n_hidden, n_out, 1, norm, None))
        self.block = nn.Sequential(*layers)
        self.skip = stride == 1 and n_in == n_out

    @property
    def expand(self):
        """The expansion (absent in the first block)."""
        return self.block[0] if self.block[0][0].groups == 1 else None

    @property
    def depthwise(self):
        """The depthwise convolution with its norm and activation."""
        return self.block[0] if self.expand is None else self.block[1]

    @property
    def gate(self):
        """The squeeze-excite, or None."""
        return self.block[-2] if isinstance(self.block[-2], _SqueezeExcite) else None

    def forward(self, feature_map):
        out = self.block(feature_map)
        return feature_map + out if self.skip else out


class _SqueezeExcite(nn.Module):
    """Gate of the channels: sigmoid(linear(ReLU(linear(mean over the map))))."""

    def __init__(self, n_channels, n_squeeze):
        super().__init__()
        self.fc1 = nn.Linear(n_channels, n_squeeze)
        self.fc2 = nn.Linear(n_squeeze, n_channels)

    def scale(self, channel_means):
        """The gate (B, C), in (0, 1), of channel means (B, C)."""
        return torch.sigmoid(self.fc2(torch.relu(self.fc1(channel_means))))

    def forward(self, feature_map):
        return feature_map * self.scale(feature_map.mean((2, 3)))[:, :, None, None]


def _conv_norm(n_in, n_out, kernel, norm, activation, stride=1, groups=1):
    conv = nn.Conv2d(n_in, n_out, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    layers = [conv, nn.BatchNorm2d(n_out, **norm)]
    return nn.Sequential(*layers, *([activation()] if activation else []))


def _initialise(module):
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out")
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.01)
        nn.init.zeros_(module.bias)


def shortened(mobilenet, n_blocks):
    """A MobileNet with a trained one's stem, first `n_blocks` blocks and tagging head; its last convolution is new."""
    arguments = mobilenet.config
    if arguments["hidden_channels"] is not None:
        arguments["hidden_channels"] = arguments["hidden_channels"][:n_blocks]
    shorter = build({**arguments, "n_blocks": n_blocks}).to(next(mobilenet.parameters()))
    for ours, theirs in zip(shorter.features[: n_blocks + 1], mobilenet.features[: n_blocks + 1], strict=True):
        ours.load_state_dict(theirs.state_dict())
    if hasattr(mobilenet, "classifier"):
        shorter.classifier.load_state_dict(mobilenet.classifier.state_dict())
    return shorter.train(mobilenet.training)


def narrowed(mobilenet, fraction, log_mel=None):
    """A copy of a trained MobileNet with the most important expanded channels of every block but the first.

    `fraction` of them is kept, in (0, 1], rounded to a multiple of 8. They are measured on `log_mel` (B, F, M), or
    without it estimated from the weights.

    Notes
    -----
    Channel c adds ``g·W[:, c]·a_c`` to its block (projection W, gain g of its norm, gated activation a_c). Its mean can
    be folded into the norm and the gate's bias, so its importance is ``‖g·W[:, c]‖ · std(a_c)``. The estimate takes the
    depthwise norm's output as Gaussian with that norm's bias and gain.
    """
    if not 0 < fraction <= 1:
        raise ConfigError(f"fraction is in (0, 1], not {fraction}")
    statistics = map(_estimated, mobilenet.blocks) if log_mel is None else _measured(mobilenet, log_mel)
    trunk = copy.deepcopy(mobilenet)
    hidden_channels = []
    for block, moments in zip(trunk.blocks, statistics, strict=True):
        n_hidden = block.depthwise[0].out_channels
        n_keep = n_hidden if block.expand is None else min(n_hidden, max(8, int(fraction * n_hidden / 8 + 0.5) * 8))
        if n_keep < n_hidden:
            _narrow_block(block, n_keep, *moments)
        hidden_channels.append(n_keep)
    narrow = build({**mobilenet.config, "hidden_channels": hidden_channels}).to(next(mobilenet.parameters()))
    narrow.load_state_dict(trunk.state_dict())
    return narrow.train(mobilenet.training)


def _estimated(block):
    """Mean before the gate, mean and standard deviation after it, of each expanded channel, from weights."""
    _, norm, activation = block.depthwise
    points = torch.linspace(-4, 4, 81, device=norm.weight.device)
    density = torch.softmax(-points.square() / 2, 0)
    with torch.no_grad():
        values = activation(norm.bias[:, None] + norm.weight.abs()[:, None] * points)
        mean = values @ density
        std = ((values - mean[:, None]).square() @ density).sqrt()
        gate = 1.0 if block.gate is None else block.gate.scale(mean[None])[0]
    return mean, mean * gate, std * gate


def _measured(mobilenet, log_mel):
    """The same three statistics, over spectrograms."""
    seen = []

    def note(_, inputs):
        channels = inputs[0].detach().transpose(0, 1).flatten(1)
        seen.append((channels.mean(1), channels.std(1)))

    layers = [layer for block in mobilenet.blocks for layer in (block.gate or block.block[-1], block.block[-1])]
    hooks = [layer.register_forward_pre_hook(note) for layer in layers]
    try:
        with evaluating(mobilenet), torch.no_grad():
            mobilenet(log_mel)
    finally:
        for hook in hooks:
            hook.remove()
    return [(before[0], *after) for before, after in zip(seen[::2], seen[1::2], strict=True)]


@torch.no_grad()
def _narrow_block(block, n_keep, mean, gated_mean, gated_std):
    """Drop all but the `n_keep` most important expanded channels, in place."""
    project, norm = block.block[-1]
    gain = norm.weight / (norm.running_var + norm.eps).sqrt()
    importance = (gain[:, None] * project.weight[:, :, 0, 0]).norm(dim=0) * gated_std
    order = importance.argsort(descending=True)
    keep, drop = order[:n_keep].sort().values, order[n_keep:]
    norm.running_mean -= project.weight[:, drop, 0, 0] @ gated_mean[drop]
    project.weight.data = project.weight[:, keep]
    if block.gate is not None:
        fc1, fc2 = block.gate.fc1, block.gate.fc2
        fc1.bias += fc1.weight[:, drop] @ mean[drop]
        fc1.weight.data = fc1.weight[:, keep]
        fc2.weight.data, fc2.bias.data = fc2.weight[keep], fc2.bias[keep]
    for conv, bn, _ in (block.expand, block.depthwise):
        conv.weight.data = conv.weight[keep]
        bn.weight.data, bn.bias.data = bn.weight[keep], bn.bias[keep]
        bn.running_mean, bn.running_var = bn.running_mean[keep], bn.running_var[keep]

"""Make a trained MobileNet narrower or shorter, so that a student can start from its teacher's own trunk.

Source: ours; the importance of a channel is the spread of what it adds to its block's output, in the spirit of
Molchanov et al., "Importance Estimation for Neural Network Pruning", CVPR 2019.
"""

import copy

import torch

from tinyclap.config.registry import build
from tinyclap.errors import ConfigError


def shortened(mobilenet, n_blocks):
    """Keep the first `n_blocks` blocks with their weights; the last convolution starts anew.

    Arguments
    ---------
    mobilenet : MobileNet
        A trained network; it is not changed.
    n_blocks : int
        1 to the number of its blocks.

    Returns
    -------
    MobileNet
        In the mode (train or eval) of the given one. Stem, blocks and tagging head have its weights.

    Example
    -------
    >>> from tinyclap.models.mobilenet import MobileNet
    >>> len(shortened(MobileNet(width=0.4), 9).blocks)
    9
    """
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
    """Keep the most important expanded channels of every block, with their weights.

    Arguments
    ---------
    mobilenet : MobileNet
        A trained network; it is not changed.
    fraction : float
        Share of the expanded channels to keep, in (0, 1]; rounded to a multiple of 8, at least 8.
    log_mel : torch.Tensor, shape (B, F, M), optional
        Some spectrograms on which the channels are measured; without it they are estimated from the weights.

    Returns
    -------
    MobileNet
        In the mode (train or eval) of the given one. Its first block, which has no expansion, is as wide as before.

    Raises
    ------
    ConfigError
        The fraction is out of range.

    Notes
    -----
    Channel c reaches the block's output as ``g·W[:, c]·a_c`` (projection W, gain g of its norm, gated activation a_c).
    A constant can be moved into the norm, so what is lost without c is the variance: importance is
    ``‖g·W[:, c]‖ · std(a_c)``. The means of dropped channels are folded into the projection's norm and the gate's
    bias. Without `log_mel` the depthwise norm's output is taken as Gaussian with its own bias and gain, and the gate
    is that of the mean activation.

    Example
    -------
    >>> from tinyclap.models.mobilenet import MobileNet
    >>> half = narrowed(MobileNet(width=0.4), 0.5)
    >>> half.config["hidden_channels"]
    [8, 16, 16, 16, 24, 24, 48, 40, 40, 40, 96, 136, 136, 192, 192]
    """
    if not 0 < fraction <= 1:
        raise ConfigError(f"fraction is in (0, 1], not {fraction}")
    statistics = [_estimated(block) for block in mobilenet.blocks]
    if log_mel is not None:
        statistics = _measured(mobilenet, log_mel)
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
    """Return mean before the gate, mean and standard deviation after it, of each expanded channel, from weights."""
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
    """The same three statistics, over the given spectrograms."""
    seen = []

    def note(_, inputs):
        channels = inputs[0].detach().transpose(0, 1).flatten(1)
        seen.append((channels.mean(1), channels.std(1)))

    layers = [layer for block in mobilenet.blocks for layer in (block.gate or block.block[-1], block.block[-1])]
    hooks = [layer.register_forward_pre_hook(note) for layer in layers]
    training = mobilenet.training
    try:
        with torch.no_grad():
            mobilenet.eval()(log_mel)
    finally:
        for hook in hooks:
            hook.remove()
        mobilenet.train(training)
    pairs = zip(seen[::2], seen[1::2], strict=True)
    return [(before[0], after[0], after[1]) for before, after in pairs]


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

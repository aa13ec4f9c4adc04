"""Folding for inference: batch norms into their convolutions, and consecutive linear maps into one."""

import copy

import torch
from torch import nn

from tinyclap.errors import ConfigError

_NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm)


class ScaleShift(nn.Module):
    """A folded batch norm of `n_channels`: scale and shift of each; output in `dtype`, or in that of the input."""

    def __init__(self, n_channels, dtype=None):
        super().__init__()
        self.dtype = dtype
        self.weight = nn.Parameter(torch.ones(n_channels))
        self.bias = nn.Parameter(torch.zeros(n_channels))

    def forward(self, feature_map):
        """(B, C, H, W) → the same shape."""
        scaled = torch.addcmul(self.bias[:, None, None], feature_map, self.weight[:, None, None])
        return scaled if self.dtype is None else scaled.to(self.dtype)

    def on_bins(self, log_mel):
        """(B, F, M) → the same shape, where channels are mel bins."""
        scaled = torch.addcmul(self.bias, log_mel, self.weight)
        return scaled if self.dtype is None else scaled.to(self.dtype)


class StridedSubsample(nn.Module):
    """The places of a map (B, C, H, W) that a 1×1 convolution of `stride` (int, int) reads."""

    def __init__(self, stride):
        super().__init__()
        self.stride = stride

    def forward(self, feature_map):
        """Rows and columns 0, s, 2s, …"""
        return feature_map[:, :, :: self.stride[0], :: self.stride[1]]


def folded(module):
    """A copy of a module in eval mode, with batch norms folded into convolutions."""
    return fold_norms(copy.deepcopy(module).eval())


@torch.no_grad()
def fold_norms(module):
    """Fold every batch norm of a module into the convolution before it, in place and in float64; returns the module.

    In containers that is the convolution right before it; other modules name pairs in ``conv_norms``. A norm without a
    convolution becomes a :class:`ScaleShift`: padding with zeros follows it, so its shift cannot move on.
    """
    for part in list(module.modules()):
        for conv_name, norm_name in _pairs(part):
            norm = part.get_submodule(norm_name)
            scale, shift = _scale_and_shift(norm, norm_name)
            _absorb(part.get_submodule(conv_name), scale, shift)
            setattr(part, norm_name, nn.Identity())
    for part in list(module.modules()):
        for name, norm in list(part.named_children()):
            if isinstance(norm, _NORMS):
                scale, shift = _scale_and_shift(norm, name)
                alone = ScaleShift(norm.num_features).to(scale.device)
                alone.weight.copy_(scale)
                alone.bias.copy_(shift)
                setattr(part, name, alone.requires_grad_(False).to(norm.running_var.dtype))
    return module


def _pairs(part):
    """Names of the convolutions of `part` and of the norms that follow them."""
    if hasattr(part, "conv_norms"):
        return [pair for pair in part.conv_norms if isinstance(getattr(part, pair[1], None), _NORMS)]
    if not isinstance(part, (nn.Sequential, nn.ModuleList)):
        return []
    children = list(part.named_children())
    return [
        (before, after)
        for (before, conv), (after, norm) in zip(children, children[1:], strict=False)
        if isinstance(conv, nn.Conv2d) and isinstance(norm, _NORMS)
    ]


def _scale_and_shift(norm, name):
    """The two vectors of a norm in evaluation, in float64."""
    if norm.running_var is None:
        raise ConfigError(f"the norm {name} keeps no statistics, so it cannot be folded; build it with them")
    gain = torch.ones_like(norm.running_var) if norm.weight is None else norm.weight
    bias = torch.zeros_like(norm.running_var) if norm.bias is None else norm.bias
    scale = gain.double() / (norm.running_var.double() + norm.eps).sqrt()
    return scale, bias.double() - norm.running_mean.double() * scale


def _absorb(conv, scale, shift):
    """Let a convolution give its result times `scale` plus `shift`, both of shape (C,)."""
    weight = conv.weight.double() * scale[:, None, None, None]
    bias = shift if conv.bias is None else shift + conv.bias.double() * scale
    conv.weight.copy_(weight)
    conv.bias = nn.Parameter(bias.to(conv.weight.dtype), requires_grad=False)


@torch.no_grad()
def compose_head(encoder, head):
    """Compose a PhiNet's last 1×1 convolution and the first linear map of a head, in place; whether that was possible.

    ``W1 · mean(Wp m + bp) = (W1 Wp) · mean(m) + W1 bp``, where the mean is over the places that the convolution reads.
    The encoder's frames are then those of its last block.
    """
    name = next((name for name in ("linear1", "linear") if isinstance(getattr(head, name, None), nn.Linear)), None)
    conv = getattr(encoder, "pn_block", None)
    if name is None or not isinstance(conv, nn.Conv2d) or encoder.pn_norm is not None or encoder.pooling != "mean":
        return False
    linear = getattr(head, name)
    outer = linear.weight.double()
    weight = outer @ conv.weight[:, :, 0, 0].double()
    bias = outer @ conv.bias.double() + (0 if linear.bias is None else linear.bias.double())
    composed = nn.Linear(conv.in_channels, linear.out_features).to(linear.weight)
    composed.weight.copy_(weight)
    composed.bias.copy_(bias)
    setattr(head, name, composed)
    encoder.pn_block = StridedSubsample(conv.stride)
    encoder.embed_dim = encoder.frame_dim = head.d_in = conv.in_channels
    return True

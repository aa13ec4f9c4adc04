"""PhiNet, scalable inverted residuals for small devices: the audio encoder of tinyCLAP.

Source: Paissan, Ancilotto & Farella, "PhiNets: a scalable backbone for low-power AI at the edge", ACM TECS 2022;
Paissan & Farella, "tinyCLAP", Interspeech 2024. Equal to micromind's PhiNet and to the released students.
"""

import torch
from torch import nn

from tinyclap.config.registry import configurable
from tinyclap.errors import ConfigError
from tinyclap.models.encoding import (
    as_encoding,
    at_least_frames,
    first_channels,
    last_halving,
    make_divisible,
    norm_mel_bins,
)

_STEM_WIDTH, _FIRST_WIDTH, _SECOND_WIDTH = 48, 24, 48
_N_FIXED = 3  # the blocks with ids 1 to 3 are always there; strides at 1 and 3


@configurable
class PhiNet(nn.Module):
    """PhiNet with the batch norm on mel bins and the embedding convolution that tinyCLAP adds.

    Arguments
    ---------
    n_mels : int. Mel bands M.
    alpha : float. Width multiplier of all blocks.
    beta : float. Shape factor: expansion at the last block as a fraction of `t_zero`.
    t_zero : float. Expansion at the (virtual) block 0; of block i it is ``t_zero·(beta·i/N + (N − i)/N)``.
    n_layers : int. N, the id of the last block; at least 3 blocks are built.
    compatibility : bool. Default of the next two: True leaves them out, for devices with few operations.
    squeeze_excite, h_swish : bool or None. Without hard-swish: ReLU6.
    downsampling_layers : list of int. Ids of blocks, from 4 on, that double the width and halve the map.
    conv5_percent : float. Fraction of the blocks, from the last backwards, with 5×5 instead of 3×3 kernels.
    first_conv_stride : int. Stride of the stem.
    residuals : bool. Skip connections around blocks that keep shape.
    conv2d_input : bool. Plain 3×3 convolution instead of the separable stem and the first block.
    pool : bool. Max pooling instead of strides.
    divisor : int. Widths are rounded to its multiples.
    batchnorm_momentum, batchnorm_eps : float. Of stem and blocks, as PyTorch counts; the official 0.999 is Keras'.
    dropout : float. Probability of dropping whole channels in a block.
    embed_width : int or None. Width of the final 1×1 convolution; None leaves it out.
    embed_stride : int. Its stride; 2 as published.
    embed_norm : bool. Follow it by batch norm and activation (not published).
    pooling : {"mean", "mean_max"}. Mean over the map; or, of the map averaged over mel, mean plus maximum over time.

    Notes
    -----
    The stem pads one row and column at the end, as theirs does for even sizes. Short inputs repeat their last frame.

    Example
    -------
    >>> headline = PhiNet(alpha=1.5, beta=0.75, t_zero=6, n_layers=7)
    >>> headline(torch.zeros(2, 100, 64)).frames.shape
    torch.Size([2, 2, 2048])
    """

    front_end = "clap2022"

    def __init__(
        self,
        n_mels=64,
        alpha=1.5,
        beta=0.75,
        t_zero=6.0,
        n_layers=7,
        compatibility=True,
        squeeze_excite=None,
        h_swish=None,
        downsampling_layers=(5, 7),
        conv5_percent=0.0,
        first_conv_stride=2,
        residuals=True,
        conv2d_input=False,
        pool=False,
        divisor=1,
        batchnorm_momentum=0.1,
        batchnorm_eps=1e-3,
        dropout=0.05,
        embed_width=2048,
        embed_stride=2,
        embed_norm=False,
        pooling="mean",
    ):
        super().__init__()
        if pooling not in ("mean", "mean_max"):
            raise ConfigError(f"pooling {pooling!r} is neither 'mean' nor 'mean_max'")
        if n_layers < 1 or int(_FIRST_WIDTH * alpha) < 1 or int(t_zero * min(1, beta) * int(_FIRST_WIDTH * alpha)) < 1:
            sizes = f"alpha={alpha}, beta={beta}, t_zero={t_zero}, n_layers={n_layers}"
            raise ConfigError(f"no channels are left with {sizes}")
        self.n_mels, self.pooling = n_mels, pooling
        self._options = {
            "squeeze_excite": not compatibility if squeeze_excite is None else squeeze_excite,
            "h_swish": not compatibility if h_swish is None else h_swish,
            "residuals": residuals,
            "divisor": divisor,
            "norm": {"eps": batchnorm_eps, "momentum": batchnorm_momentum},
            "dropout": dropout,
        }

        def width(n_channels):
            return make_divisible(int(n_channels * alpha), divisor)

        self.bn0 = nn.BatchNorm2d(n_mels)
        layers, n_in = self._stem(conv2d_input, first_conv_stride, width, alpha)
        n_out = _FIRST_WIDTH
        for block_id in range(1, max(n_layers, _N_FIXED) + 1):
            halves = block_id in (1, 3) if block_id <= _N_FIXED else block_id in downsampling_layers
            if block_id == _N_FIXED:
                n_out = _SECOND_WIDTH
            elif block_id > _N_FIXED and halves:
                n_out *= 2
            if halves and pool and block_id > _N_FIXED:
                layers.append(nn.MaxPool2d(2))
            kernel = 5 if block_id > _N_FIXED and block_id / n_layers > 1 - conv5_percent else 3
            expansion = t_zero * beta * block_id / n_layers + t_zero * (n_layers - block_id) / n_layers
            stride = 2 if halves and not pool else 1
            layers.append(_Block(n_in, width(n_out), expansion, stride, kernel, **self._options))
            n_in = width(n_out)
            if halves and pool and block_id <= _N_FIXED:
                layers.append(nn.MaxPool2d(2))
        self._layers = nn.ModuleList(layers)
        self._last_halving = last_halving(layers)
        self.n_middle = first_channels(layers[self._last_halving :]) or n_in
        self.pn_block = None if embed_width is None else nn.Conv2d(n_in, embed_width, 1, stride=embed_stride)
        self.pn_norm = None
        if embed_width is not None and embed_norm:
            norm, h_swish = self._options["norm"], self._options["h_swish"]
            self.pn_norm = nn.Sequential(nn.BatchNorm2d(embed_width, **norm), _activation(h_swish))
        self.n_channels = n_in
        self.embed_dim = self.frame_dim = n_in if embed_width is None else embed_width
        self._n_min_frames = _smallest_input(self._layers)
        if n_mels < self._n_min_frames:
            needed = f"{self._n_min_frames} are needed"
            raise ConfigError(f"this PhiNet halves its map too often for {n_mels} mel bands; {needed}")

    def _stem(self, conv2d_input, stride, width, alpha):
        """The layers before block 1, and their number of output channels."""
        norm, activation = self._options["norm"], _activation(self._options["h_swish"])
        if conv2d_input:
            n_first = int(_FIRST_WIDTH * alpha)
            return [nn.Conv2d(1, n_first, 3, bias=False), activation, nn.BatchNorm2d(n_first)], n_first
        n_stem, n_first = width(_STEM_WIDTH), width(_FIRST_WIDTH)
        first = _Block(n_stem, n_first, None, 1, 3, **{**self._options, "squeeze_excite": False})
        return [nn.ZeroPad2d((0, 1, 0, 1)), _SeparableConv(1, n_stem, stride, norm, activation), first], n_first

    def feature_map(self, log_mel):
        """The map after the last block, (B, C, ~F/32, ~M/32), of log-mel spectrograms (B, F, M)."""
        return self._maps(log_mel)[0]

    def _maps(self, log_mel):
        """The last map, and the one before the last halving."""
        log_mel = at_least_frames(log_mel, self._n_min_frames)
        feature_map = middle = norm_mel_bins(self.bn0, log_mel)
        if self.training and feature_map.device.type == "cpu":  # a third faster; inference is left as it is
            feature_map = feature_map.clone(memory_format=torch.channels_last)
        for index, layer in enumerate(self._layers):
            if index == self._last_halving:
                middle = feature_map
            feature_map = layer(feature_map)
        return feature_map, middle

    def forward(self, log_mel):
        """Encode log-mel spectrograms (B, F, M): clip (B, embed_dim), frames (B, F', embed_dim)."""
        feature_map, middle = self._maps(log_mel)
        if self.pn_block is not None:
            feature_map = self.pn_block(feature_map)
        if self.pn_norm is not None:
            feature_map = self.pn_norm(feature_map)
        frames = feature_map.mean(3).transpose(1, 2)
        clip = frames.mean(1) if self.pooling == "mean" else frames.mean(1) + frames.amax(1)
        return as_encoding(clip, frames, middle)


class _Block(nn.Module):
    """Inverted residual: expand (unless `expansion` is None), depthwise, squeeze-excite, project, skip."""

    def __init__(
        self, n_in, n_out, expansion, stride, kernel, squeeze_excite, h_swish, residuals, divisor, norm, dropout
    ):
        super().__init__()
        layers, n_hidden = [], n_in
        if expansion is not None:
            n_hidden = make_divisible(int(expansion * n_in), divisor)
            layers += [nn.Conv2d(n_in, n_hidden, 1, bias=False), nn.BatchNorm2d(n_hidden, **norm), _activation(h_swish)]
        # Strided blocks are padded by 1 also where the kernel is 5, as the published ones are.
        padding = kernel // 2 if stride == 1 else 1
        depthwise = nn.Conv2d(n_hidden, n_hidden, kernel, stride, padding, groups=n_hidden, bias=False)
        layers += [nn.Dropout2d(dropout), depthwise, nn.BatchNorm2d(n_hidden, **norm), _activation(h_swish)]
        if squeeze_excite:
            layers.append(_SqueezeExcite(n_hidden, make_divisible(max(1, n_hidden // 6), divisor), h_swish))
        layers += [nn.Conv2d(n_hidden, n_out, 1, bias=False), nn.BatchNorm2d(n_out, **norm)]
        self._layers = nn.Sequential(*layers)
        self.skip = residuals and stride == 1 and n_in == n_out

    def forward(self, feature_map):
        out = self._layers(feature_map)
        return out + feature_map if self.skip else out


class _SeparableConv(nn.Module):
    """Depthwise 3×3 (not padded), pointwise 1×1, batch norm, activation."""

    def __init__(self, n_in, n_out, stride, norm, activation):
        super().__init__()
        depthwise = nn.Conv2d(n_in, n_in, 3, stride, groups=n_in, bias=False)
        pointwise = nn.Conv2d(n_in, n_out, 1, bias=False)
        self._layers = nn.Sequential(depthwise, pointwise, nn.BatchNorm2d(n_out, **norm), activation)

    def forward(self, feature_map):
        return self._layers(feature_map)


class _SqueezeExcite(nn.Module):
    """Gate of the channels by two 1×1 convolutions without bias on the mean over the map."""

    def __init__(self, n_channels, n_squeeze, h_swish):
        super().__init__()
        self.se_conv = nn.Conv2d(n_channels, n_squeeze, 1, bias=False)
        self.se_conv2 = nn.Conv2d(n_squeeze, n_channels, 1, bias=False)
        self.activation = _activation(h_swish)

    def forward(self, feature_map):
        squeezed = self.activation(self.se_conv(feature_map.mean((2, 3), keepdim=True)))
        return feature_map * torch.sigmoid(self.se_conv2(squeezed))


def _activation(h_swish):
    return nn.Hardswish(inplace=True) if h_swish else nn.ReLU6(inplace=True)


def _smallest_input(layers):
    """Minimum frames (or mel bands) from which every layer gets a map of at least 1."""
    steps = []
    for layer in (module for child in layers for module in child.modules()):
        if isinstance(layer, nn.ZeroPad2d):
            steps.append((1, 1, layer.padding[1]))
        elif isinstance(layer, nn.MaxPool2d):
            steps.append((layer.kernel_size, layer.kernel_size, 0))
        elif isinstance(layer, nn.Conv2d) and layer.kernel_size[0] > 1:
            steps.append((layer.kernel_size[0], layer.stride[0], 2 * layer.padding[0]))
    size = 1
    for kernel, stride, padding in reversed(steps):
        size = max(1, (size - 1) * stride + kernel - padding)
    return size

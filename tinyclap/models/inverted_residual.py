"""Training of an inverted residual on the CPU in a fraction of the time: same function, same gradients, less memory.

A block expands its map by a factor of about six and squeezes it again; between stand two batch norms, two clamps and a
dropout, each of which PyTorch writes to memory and reads back. Here the wide map exists for a few clips at a time,
small enough for the caches, and is computed again for the gradient. That is possible because the statistics of a batch
norm after a 1×1 convolution follow from the covariance of the narrow map before it: mean(Wx) = W·mean(x) and
var(Wx) = diag(W·cov(x)·Wᵀ); no wide map is needed to know them.

Source: ours; recomputing as in Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable

_CACHED = 2**19  # numbers of the wide map that are worked on at a time; one clip at least
_N_ROWS = 2**15  # rows of a narrow map that are worked on at a time
_TOP = 6.0  # of ReLU6


class Widening(NamedTuple):
    """The parts before the depthwise convolution: 1×1 convolution and its norm, or None where there is no expansion."""

    conv: nn.Conv2d | None
    norm: nn.BatchNorm2d | None


def can_train_fast(feature_map, norms):
    """Whether :func:`inverted_residual` may be used instead of the block's own layers.

    Arguments
    ---------
    feature_map : torch.Tensor, shape (B, C, H, W)
    norms : sequence of nn.Module
        The block's norms.

    Returns
    -------
    bool
        On the CPU, with gradients, with weights in float32 or float64 and norms that use the statistics of this batch.
    """
    return (
        torch.is_grad_enabled()
        and feature_map.device.type == "cpu"
        and not torch.compiler.is_compiling()
        and all(type(norm) is nn.BatchNorm2d and norm.training and norm.momentum is not None for norm in norms)
        and all(norm.affine and norm.weight.dtype in (torch.float32, torch.float64) for norm in norms)
    )


def inverted_residual(feature_map, widening, dropout, depthwise, norm2, project, norm3, skip):
    """Expand, norm, ReLU6, drop channels, depthwise, norm, ReLU6, project, norm; plus the input where `skip`.

    Arguments
    ---------
    feature_map : torch.Tensor, shape (B, C, H, W)
    widening : Widening
    dropout : float
        Probability with which a channel of a clip is dropped after the first ReLU6.
    depthwise, project : nn.Conv2d
        Without bias.
    norm2, norm3 : nn.BatchNorm2d
        After them; in training mode. Their running statistics move, as those of the first.
    skip : bool

    Returns
    -------
    torch.Tensor, shape (B, C', H', W')
        In channels-last order, in the weights' precision; differentiable once.

    Notes
    -----
    Under autocast too: in float32 this is faster on CPUs than PyTorch's own layers in bfloat16.
    """
    feature_map = feature_map.to(depthwise.weight.dtype).contiguous(memory_format=torch.channels_last)
    n_hidden = depthwise.in_channels
    mask = None
    if dropout > 0:  # drawn as nn.Dropout2d draws it
        mask = feature_map.new_empty(len(feature_map), n_hidden, 1, 1).bernoulli_(1 - dropout).div_(1 - dropout)
        mask = mask.flatten(1)
    norms = [widening.norm, norm2, norm3]
    sizes = depthwise.stride, depthwise.padding, [None if norm is None else norm.eps for norm in norms]
    first = (None,) * 3 if norms[0] is None else (widening.conv.weight, norms[0].weight, norms[0].bias)
    out, *moments = _InvertedResidual.apply(
        feature_map, mask, *first, depthwise.weight, norm2.weight, norm2.bias, project.weight, norm3.weight, norm3.bias,
        sizes, skip,
    )  # fmt: skip
    counts = [map_.numel() // map_.shape[1] for map_ in (feature_map, out, out)]
    present = [(norm, count) for norm, count in zip(norms, counts, strict=True) if norm is not None]
    for (norm, count), mean, var in zip(present, moments[::2], moments[1::2], strict=True):
        _move_statistics(norm, mean, var * (count / max(count - 1, 1)))
    return out


@torch.no_grad()
def _move_statistics(norm, mean, unbiased_var):
    """What a batch norm does with the statistics of a batch."""
    if norm.track_running_stats:
        norm.num_batches_tracked += 1
        norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), norm.momentum)
        norm.running_var.lerp_(unbiased_var.to(norm.running_var.dtype), norm.momentum)


class _InvertedResidual(torch.autograd.Function):
    """The function behind :func:`inverted_residual`.

    Maps: x comes in, a is what the depthwise convolution reads, z what it gives, b what the projection reads, p what it
    gives. All but x, z and p exist for a chunk of clips at a time.
    """

    @staticmethod
    @torch.autocast("cpu", enabled=False)
    def forward(ctx, x, mask, w1, gain1, bias1, kernel, gain2, bias2, w3, gain3, bias3, sizes, skip):
        stride, padding, eps = sizes
        norm1 = None if w1 is None else _NormOfProduct(_rows(x), w1.flatten(1), gain1, bias1, eps[0])
        wide, z = _Wide(norm1, len(kernel)), []
        for chunk, kept in _chunks(x, mask, len(kernel)):
            z.append(F.conv2d(wide(chunk), kernel, None, stride, padding, groups=len(kernel)))
            _drop(_rows(z[-1]), kept)
        norm2 = _Norm([_rows(part) for part in z], gain2, bias2, eps[1])
        p, buffer, w3_t = [], torch.empty_like(_rows(z[0])), w3.flatten(1).t()
        for rows in map(_rows, z):
            p.append(torch.mm(norm2(rows, buffer[: len(rows)]).clamp_(0, _TOP), w3_t))
        norm3 = _Norm(p, gain3, bias3, eps[2])
        out = x.new_empty(sum(map(len, p)), len(w3))
        for part, rows in zip(p, out.split(len(p[0])), strict=True):
            norm3(part, rows)
        if skip:
            out += _rows(x)
        ctx.norms, ctx.sizes, ctx.skip = (norm1, norm2, norm3), sizes, skip
        ctx.save_for_backward(x, mask, w1, kernel, w3, *p, *z)
        moments = [moment for norm in ctx.norms if norm for moment in norm.moments]
        ctx.mark_non_differentiable(*moments)
        return (_as_map(out, len(x), *z[0].shape[2:]), *moments)

    @staticmethod
    @once_differentiable
    @torch.autocast("cpu", enabled=False)
    def backward(ctx, d_out, *_):
        x, mask, w1, kernel, w3, *maps = ctx.saved_tensors
        p, z = maps[: len(maps) // 2], maps[len(maps) // 2 :]
        norm1, norm2, norm3 = ctx.norms
        d_out = _rows(d_out.contiguous(memory_format=torch.channels_last))
        d_p = _through_last_norm(norm3, d_out.split(len(p[0])), p)
        d_w3, d_b = _through_projection(norm2, d_p, w3.flatten(1), z)
        d_x, d_kernel = _through_depthwise(_Wide(norm1, len(kernel)), norm2, d_b, x, mask, kernel, z, ctx.sizes)
        first = (None, None, None)
        if norm1 is not None:
            d_w1, *first = norm1.finish(d_x, _rows(x))
            first = (d_w1.view_as(w1), *first)
        if ctx.skip:
            d_x += d_out
        d_x = _as_map(d_x, len(x), *x.shape[2:])
        return d_x, None, *first, d_kernel, *norm2.gradients(), d_w3.view_as(w3), *norm3.gradients(), None, None


def _through_last_norm(norm, d_out, p):
    """Gradients of the projection's output, chunk by chunk; the norm keeps its own."""
    norm.begin()
    buffer = torch.empty_like(p[0])
    for d, rows in zip(d_out, p, strict=True):
        norm.note(d, norm.centred(rows, buffer[: len(rows)]))
    return [norm.input_gradient(d, rows, torch.empty_like(rows)) for d, rows in zip(d_out, p, strict=True)]


def _through_projection(norm, d_p, w3, z):
    """Gradients of the projection's weights, and of the second norm's output chunk by chunk."""
    norm.begin()
    d_w3, d_b = torch.zeros_like(w3), []
    buffers = torch.empty_like(_rows(z[0])), torch.empty_like(_rows(z[0]))
    for d_chunk, rows in zip(d_p, map(_rows, z), strict=True):
        centred = norm.centred(rows, buffers[0][: len(rows)])
        b = norm.from_centred(centred, buffers[1][: len(rows)]).clamp_(0, _TOP)
        d_w3.addmm_(d_chunk.t(), b)
        d = _clamp_gradient(torch.mm(d_chunk, w3), b)
        norm.note(d, centred)
        d_b.append(d)
    return d_w3, d_b


def _through_depthwise(wide, norm, d_b, x, mask, kernel, z, sizes):
    """Gradients of what the wide map was made of, and of the depthwise convolution's weights."""
    stride, padding, _ = sizes
    d_kernel, d_x, start = torch.zeros_like(kernel), torch.empty_like(_rows(x)), 0
    buffer = torch.empty_like(d_b[0])
    for (chunk, kept), part, d in zip(_chunks(x, mask, len(kernel)), z, d_b, strict=True):
        d_z = _drop(norm.input_gradient(d, _rows(part), buffer[: len(d)]), kept)
        a = wide(chunk)
        d_a, d_more, _ = torch.ops.aten.convolution_backward(
            _as_map(d_z, len(part), *part.shape[2:]), a, kernel, None, stride, padding, [1, 1], False, [0, 0],
            len(kernel), [True, True, False],
        )  # fmt: skip
        d_kernel += d_more
        end = start + len(_rows(chunk))
        wide.gradient(_rows(d_a), _rows(a), d_x[start:end])
        start = end
    return d_x, d_kernel


class _Wide:
    """Makes the wide map of a chunk of clips before dropout: expanded, normed, clamped."""

    def __init__(self, norm1, n_hidden):
        self.norm1, self.n_hidden, self.buffer = norm1, n_hidden, None
        if norm1 is not None:
            norm1.begin()

    def __call__(self, chunk):
        """(n, C, H, W) to (n, C', H, W), in a buffer that the next call overwrites."""
        if self.norm1 is None:
            return chunk
        rows = _rows(chunk)
        if self.buffer is None:
            self.buffer = rows.new_empty(len(rows), self.n_hidden)
        out = self.norm1(rows, self.buffer[: len(rows)]).clamp_(0, _TOP)
        return _as_map(out, len(chunk), *chunk.shape[2:])

    def gradient(self, d_a, a, out):
        """From the gradient of the last chunk's wide map to that of what it was made of, into `out`."""
        if self.norm1 is None:
            out.copy_(d_a)
        else:
            self.norm1.note(_clamp_gradient(d_a, a), out)


class _Norm:
    """Batch norm of rows that come in chunks, forwards and backwards, from its statistics.

    The gradient of its input is ``s·(g − mean(g) − (z − m)·r²·mean(g·(z − m)))`` with mean m, r = 1 / √(var + eps) and
    s = gain·r.
    """

    def __init__(self, chunks, gain, bias, eps):
        self._set(sum(map(len, chunks)), *_moments(chunks), gain, bias, eps)

    def _set(self, count, mean, var, gain, bias, eps):
        rate = (var + eps).rsqrt()
        scale = gain.double() * rate
        self.count, self.bias = count, bias.detach()
        self.exact_rate, self.exact_scale = rate, scale
        self.moments = mean.to(gain.dtype), var.to(gain.dtype)
        self.mean, self.scale, self.shift = (
            vector.to(gain.dtype) for vector in (mean, scale, bias.double() - mean * scale)
        )

    def __call__(self, rows, out):
        """The norm's output."""
        return torch.addcmul(self.shift, rows, self.scale, out=out)

    def centred(self, rows, out):
        """Rows less the mean."""
        return torch.sub(rows, self.mean, out=out)

    def from_centred(self, rows, out):
        """The norm's output, from rows less the mean."""
        return torch.addcmul(self.bias, rows, self.scale, out=out)

    def begin(self):
        """Forget the sums of an earlier pass."""
        self.sums = torch.zeros(2, len(self.mean), dtype=torch.float64)
        self.terms = None

    def note(self, d, centred):
        """Take the gradient of a chunk's output into the sums; `centred` is overwritten."""
        self.sums[0] += d.sum(0)
        self.sums[1] += centred.mul_(d).sum(0)

    def input_gradient(self, d, rows, out):
        """Gradient of a chunk's input, once all chunks were noted."""
        if self.terms is None:
            slope = -self.exact_scale * self.exact_rate.square() * self.sums[1] / self.count
            constant = -self.exact_scale * self.sums[0] / self.count - slope * self.mean
            self.terms = slope.to(d.dtype), constant.to(d.dtype)
        return torch.addcmul(self.terms[1], rows, self.terms[0], out=out).addcmul_(d, self.scale)

    def gradients(self):
        """Gradients of gain and bias."""
        return (self.sums[1] * self.exact_rate).to(self.mean.dtype), self.sums[0].to(self.mean.dtype)


class _NormOfProduct(_Norm):
    """Batch norm of W x without the product: from mean and covariance of x (N, C)."""

    def __init__(self, rows, weight, gain, bias, eps):
        self.weight, self.centre = weight.double(), rows.mean(0)
        self.covariance = _covariance(rows, self.centre)
        var = ((self.weight @ self.covariance) * self.weight).sum(1)
        self._set(len(rows), self.weight @ self.centre.double(), var, gain, bias, eps)
        # x less its mean, and a column of ones: its product with (s·W; bias) is the norm's output
        self.scaled = (self.exact_scale[:, None] * self.weight).to(rows.dtype)
        self.factor = torch.cat([self.scaled.t(), bias.detach()[None]])
        self.extended = None

    def __call__(self, rows, out):
        """The norm's output, from a chunk of x."""
        if self.extended is None or len(self.extended) < len(rows):
            self.extended = rows.new_ones(len(rows), rows.shape[1] + 1)
        self.present = self.extended[: len(rows)]
        torch.sub(rows, self.centre, out=self.present[:, :-1])
        return torch.mm(self.present, self.factor, out=out)

    def begin(self):
        """Forget the sums of an earlier pass."""
        self.products = torch.zeros(*self.factor.shape, dtype=torch.float64)

    def note(self, d, out):
        """Take the gradient of the last chunk's output into the sums, and its product with s·W into `out`."""
        self.products += self.present.t() @ d
        torch.mm(d, self.scaled, out=out)

    def finish(self, d_x, rows):
        """Gradients of the weight, of gain and bias; `d_x`, all that `note` gave, becomes the gradient of x."""
        self.extended = self.present = None
        d_sum, with_x = self.products[-1], self.products[:-1].t()  # of g, and of g·(x − mean)ᵀ
        d_gain = (self.weight * with_x).sum(1)  # of g·(z − mean(z))
        slope = self.exact_scale * self.exact_rate.square() * d_gain / self.count
        d_weight = self.exact_scale[:, None] * with_x - self.count * slope[:, None] * (self.weight @ self.covariance)
        back = self.weight.t() @ (slope[:, None] * self.weight)
        constant = self.centre.double() @ back - (self.exact_scale * d_sum / self.count) @ self.weight
        for d, part in zip(d_x.split(_N_ROWS), rows.split(_N_ROWS), strict=True):
            d += torch.addmm(constant.to(d.dtype), part, -back.to(d.dtype))
        dtype = rows.dtype
        return d_weight.to(dtype), (d_gain * self.exact_rate).to(dtype), d_sum.to(dtype)


def _moments(chunks):
    """Mean and variance, in float64, of rows (N, C) that come in chunks; each chunk is centred by itself first."""
    counts = torch.tensor([len(rows) for rows in chunks], dtype=torch.float64)[:, None]
    buffer, means, squares = torch.empty_like(chunks[0]), [], []
    for rows in chunks:
        means.append(rows.sum(0) / len(rows))
        squares.append(torch.sub(rows, means[-1], out=buffer[: len(rows)]).square_().sum(0))
    means, squares = torch.stack(means).double(), torch.stack(squares).double()
    mean = (counts * means).sum(0) / counts.sum()
    return mean, (squares + counts * (means - mean).square()).sum(0) / counts.sum()


def _covariance(rows, centre):
    """(C, C) in float64."""
    total = torch.zeros(rows.shape[1], rows.shape[1], dtype=torch.float64)
    for part in rows.split(_N_ROWS):
        part = part - centre
        total += part.t() @ part
    return total / len(rows)


def _chunks(x, mask, n_hidden):
    """Clips of `x` and rows of `mask` (or None), so many at a time that their wide map stays small."""
    n_clips = max(1, _CACHED // (n_hidden * x.shape[2] * x.shape[3]))
    maps = x.split(n_clips)
    return zip(maps, [None] * len(maps) if mask is None else mask.split(n_clips), strict=True)


def _rows(feature_map):
    """A channels-last map (B, C, H, W) as (B·H·W, C), without a copy."""
    return feature_map.permute(0, 2, 3, 1).flatten(0, 2)


def _as_map(rows, n_clips, height, width):
    """Undo :func:`_rows`."""
    return rows.view(n_clips, height, width, -1).permute(0, 3, 1, 2)


def _drop(rows, kept):
    """Multiply the rows of each clip with its row of `kept` (n, C), in place; None keeps all.

    Dropout stands before the depthwise convolution, which works on each channel for itself: it may stand after it too,
    where the map is smaller.
    """
    if kept is not None:
        rows.view(len(kept), -1, kept.shape[1]).mul_(kept[:, None])
    return rows


def _clamp_gradient(d, clamped):
    """Stop the gradient, in place, where the clamped value stands at 0 or at 6."""
    return torch.ops.aten.hardtanh_backward.grad_input(d, clamped, 0.0, _TOP, grad_input=d)

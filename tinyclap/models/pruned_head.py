r"""Heads with fewer outputs: which rows of weights can go, and what becomes of a LayerNorm that needs them all.

CLAP's head gives ``z = e1 + W2 GELU(e1)`` with ``e1 = W1 x``, then ``y = g (z − μ) / σ + b``, where μ and σ are mean
and standard deviation of z's D entries. To keep the entries K of y alone:

* Rows of W2 outside K go. ``GELU(e1)`` feeds every row of W2, so the rows of W1 stay.
* μ is linear: the mean of e1, plus the mean row of W2 on GELU(e1). So ``z − μ = (e1 − mean e1) + (W2 − mean row)
  GELU(e1)``: centring the rows of W2 once makes the mean exact without a row of its own.
* σ needs all D entries. Where b is zero on K it is one factor for the whole of y_K, so it cancels when y_K is made a
  unit vector: the cosine is **exact** without σ, and y_K is given without it.
* Where b is not zero, σ decides how much b weighs, and no fewer rows can give it exactly. ``D σ² = Σ_K (z_i − μ)² +
  ‖dropped, centred part‖²``. The second term is approximated by r principal directions U of the dropped part over a
  training set, ``‖Uᵀ(z − μ)_dropped‖²``, plus a constant: the mean energy outside U. r = 0 leaves the constant alone;
  r = D − |K| is exact. The error has to be measured; ``prune.py`` does.
* "Folding the bias away" would mean to score ``y − b``, which is another embedding with other scores: not offered.

In the exact forms a kept row equals the row of the whole head, masked and made a unit vector again, up to rounding.
That holds for a window; a clip of several windows averages unit vectors, and those are unit on K here, on all of D
where the clip's mean is masked.

Source: ours, after Eq. 8 of Paissan & Farella, "tinyCLAP", Interspeech 2024, which masks and removes nothing.
"""

import torch
import torch.nn.functional as F
from torch import nn

from tinyclap.config.registry import configurable
from tinyclap.errors import ConfigError

EPS = 1e-5  # of the published LayerNorm


@configurable
class PrunedClapProjection(nn.Module):
    """What :meth:`tinyclap.models.projection.ClapProjection.keep_dims` gives; its weights come from there.

    Arguments
    ---------
    d_in : int
        Width of the encoder's features.
    n_dims : int
        D, the width before.
    d_out : int
        Entries that are kept.
    n_hidden : int
        Units of the GELU that are computed: D, or fewer, with the means of the others in a bias.
    n_exact : int
        Entries whose values enter the scale σ, the kept ones first; 0 leaves σ out, for the bias zero.
    n_directions : int
        Further directions that enter σ; see the module's head.

    Notes
    -----
    ``linear1`` has the rows of the hidden units (the kept entries first), then one for the mean of e1 where hidden
    units were dropped, then one a direction; ``linear2`` a row for each entry of σ or output, and one a direction.
    Made for evaluation: there is no dropout, and σ's constant stays what it was measured to be.

    Example
    -------
    >>> head = PrunedClapProjection(2048, 1024, 256, 1024, 0, 0)
    >>> sum(p.numel() for p in head.parameters()), head(torch.zeros(2, 2048)).shape
    (2359808, torch.Size([2, 256]))
    """

    def __init__(self, d_in, n_dims, d_out, n_hidden, n_exact=0, n_directions=0):
        super().__init__()
        self.d_in, self.n_dims, self.d_out = d_in, n_dims, d_out
        self.n_hidden, self.n_exact, self.n_directions = n_hidden, n_exact, n_directions
        self.n_rows = max(n_exact, d_out)
        self.all_hidden = n_hidden == n_dims
        self.linear1 = nn.Linear(d_in, n_hidden + (not self.all_hidden) + n_directions, bias=False)
        self.linear2 = nn.Linear(n_hidden, self.n_rows + n_directions, bias=not self.all_hidden)
        self.gain = nn.Parameter(torch.ones(d_out))
        self.shift = nn.Parameter(torch.zeros(d_out))
        self.register_buffer("rest", torch.zeros(()))

    @property
    def is_exact(self):
        """Whether nothing is approximated: σ is out, or of all entries, and no hidden unit is missing."""
        return self.all_hidden and self.n_exact in (0, self.n_dims)

    def forward(self, features):
        """Map `features` (…, d_in) to (…, d_out), not normalised."""
        first = self.linear1(features)
        hidden = first[..., : self.n_hidden]
        second = self.linear2(F.gelu(hidden))
        if self.all_hidden:
            mean = hidden.mean(dim=-1, keepdim=True)
        else:
            mean = first[..., self.n_hidden : self.n_hidden + 1]
        centred = hidden[..., : self.n_rows] - mean + second[..., : self.n_rows]
        kept = centred[..., : self.d_out]
        if self.n_exact:
            energy = centred.square().sum(dim=-1, keepdim=True) + self.rest
            if self.n_directions:
                directions = first[..., -self.n_directions :] + second[..., self.n_rows :]
                energy = energy + directions.square().sum(dim=-1, keepdim=True)
            kept = kept * (energy / self.n_dims + EPS).rsqrt()
        return kept * self.gain + self.shift

    def keep_dims(self, indices):
        """Keep some of the entries that are left.

        Arguments
        ---------
        indices : sequence of int
            Places among the present outputs, in the order in which they are wanted.

        Returns
        -------
        PrunedClapProjection
            As exact as this one: rows that σ needs stay.
        """
        kept = chosen_dims(indices, self.d_out)
        rows = kept + (remaining(kept, self.n_rows) if self.n_exact else [])
        order = rows + remaining(rows, self.n_hidden)
        again = PrunedClapProjection(**{**self.__dict__["_arguments"], "d_out": len(kept)})
        after1 = list(range(self.n_hidden, self.linear1.out_features))
        after2 = list(range(self.n_rows, self.linear2.out_features))
        again.linear1 = rows_of(self.linear1, order + after1)
        second = rows_of(self.linear2, rows + after2)
        again.linear2 = linear_like(second, second.weight[:, order], second.bias)
        set_norm(again, self.gain, self.shift, kept, self.rest)
        return again.train(self.training)


def chosen_dims(indices, n_dims):
    """Check which dimensions are to stay.

    Arguments
    ---------
    indices : sequence of int
    n_dims : int
        How many there are.

    Returns
    -------
    list of int
        As given.

    Raises
    ------
    ConfigError
        None is left, one is out of range, or one comes twice.

    Example
    -------
    >>> chosen_dims([3, 0], 4)
    [3, 0]
    """
    kept = [int(index) for index in indices]
    wrong = sorted({index for index in kept if not 0 <= index < n_dims})
    if not kept or wrong or len(set(kept)) != len(kept):
        what = f"{wrong[:5]} are none" if wrong else "one comes twice" if kept else "none is left"
        raise ConfigError(f"dimensions to keep are places 0 to {n_dims - 1}, each once and at least one; {what}")
    return kept


def remaining(taken, n_dims):
    """Places below `n_dims` that are not in `taken`, rising.

    Example
    -------
    >>> remaining([3, 0], 5)
    [1, 2, 4]
    """
    taken = set(taken)
    return [index for index in range(n_dims) if index not in taken]


@torch.no_grad()
def linear_like(linear, weight, bias=None):
    """A linear map of other weights, with the kind of numbers, the device and the gradient of a given one.

    Arguments
    ---------
    linear : torch.nn.Linear
    weight : torch.Tensor, shape (rows, columns)
    bias : torch.Tensor or None, shape (rows,)

    Returns
    -------
    torch.nn.Linear
    """
    made = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None).to(linear.weight)
    made.weight.copy_(weight)
    if bias is not None:
        made.bias.copy_(bias)
    return made.requires_grad_(linear.weight.requires_grad).train(linear.training)


def rows_of(linear, indices):
    """The linear map that gives some of the outputs of `linear`, in the order of `indices`.

    Example
    -------
    >>> rows_of(nn.Linear(3, 5), [4, 0]).weight.shape
    torch.Size([2, 3])
    """
    return linear_like(linear, linear.weight[indices], None if linear.bias is None else linear.bias[indices])


@torch.no_grad()
def set_norm(head, gain, shift, kept, rest):
    """Give a pruned head some entries of a LayerNorm's gain and shift (D,), in the order of `kept`, and σ's constant.

    Arguments
    ---------
    head : PrunedClapProjection
    gain, shift : torch.nn.Parameter, shape (D,)
    kept : list of int
    rest : float or torch.Tensor, shape ()
    """
    head.gain = nn.Parameter(gain[kept].clone(), requires_grad=gain.requires_grad)
    head.shift = nn.Parameter(shift[kept].clone(), requires_grad=shift.requires_grad)
    head.rest = torch.as_tensor(rest, dtype=gain.dtype, device=gain.device).clone()

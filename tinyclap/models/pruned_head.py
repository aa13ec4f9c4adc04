r"""CLAP's projection head with fewer outputs: exact pruning of its rows, and the LayerNorm that needs all of them.

CLAP's head gives ``z = e1 + W2 GELU(e1)`` with ``e1 = W1 x``, then ``y = g (z − μ) / σ + b``, where μ and σ are mean
and standard deviation of z's D entries. To keep the entries K of y alone:

* Rows of W2 outside K go. ``GELU(e1)`` feeds every row of W2, so the rows of W1 stay.
* μ is linear, so centring the rows of W2 once makes it exact: ``z − μ = (e1 − mean e1) + (W2 − mean row) GELU(e1)``.
* σ needs all D entries. Where b is zero on K it is one factor of y_K, which a cosine cancels: left out, **exact**.
* Where b is not zero, ``D σ² = Σ_K (z_i − μ)² + ‖dropped, centred part‖²``. The second term is approximated by its
  energy along r principal directions U over a training set, plus the mean energy outside U. r = D − |K| is exact;
  ``prune.py`` measures the error.

An exact row equals the row of the whole head, masked and L2-normalised, up to rounding. That holds for a window; a clip
of several windows averages rows normalised on K here, on all D where the clip's mean is masked.

Source: ours, after Eq. 8 of Paissan & Farella, "tinyCLAP", Interspeech 2024, which masks and removes nothing.
"""

import torch
import torch.nn.functional as F
from torch import nn

from tinyclap.config.registry import configurable
from tinyclap.errors import ConfigError

EPS = 1e-5  # of the published LayerNorm
PRE_NORM, HIDDEN_MEAN, HIDDEN_STD = "pre_norm_second_moment", "hidden_mean", "hidden_std"


@configurable
class PrunedClapProjection(nn.Module):
    """Output of :func:`pruned_clap_head`, for inference: no dropout.

    Arguments
    ---------
    d_in, n_dims, d_out : int. Features, D (the width before pruning), and entries that are kept.
    n_hidden : int. Units of the GELU that are computed: D, or fewer, with the means of the others in a bias.
    n_exact : int. Entries whose values enter σ, the kept ones first; 0 leaves σ out, for the bias zero.
    n_directions : int. r; see the module's docstring.

    Rows of ``linear1`` are hidden units (the kept entries first), the mean of e1 where hidden units were dropped, the
    directions; those of ``linear2`` are entries of σ or output, the directions.
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
        """(…, d_in) → (…, d_out), not normalised."""
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
        """Keep some of the present outputs, in the order of `indices`; as exact as this head."""
        kept = chosen_dims(indices, self.d_out)
        rows = kept + (_others(kept, self.n_rows) if self.n_exact else [])
        order = rows + _others(rows, self.n_hidden)
        again = PrunedClapProjection(**{**self.__dict__["_arguments"], "d_out": len(kept)})
        after1 = list(range(self.n_hidden, self.linear1.out_features))
        after2 = list(range(self.n_rows, self.linear2.out_features))
        again.linear1 = rows_of(self.linear1, order + after1)
        second = rows_of(self.linear2, rows + after2)
        again.linear2 = _linear_like(second, second.weight[:, order], second.bias)
        again._set_norm(self.gain, self.shift, kept, self.rest)
        return again.train(self.training)

    @torch.no_grad()
    def _set_norm(self, gain, shift, kept, rest):
        """Copy entries of a LayerNorm's gain and shift (D,), and σ's constant."""
        self.gain = nn.Parameter(gain[kept].clone(), requires_grad=gain.requires_grad)
        self.shift = nn.Parameter(shift[kept].clone(), requires_grad=shift.requires_grad)
        self.rest = torch.as_tensor(rest, dtype=gain.dtype, device=gain.device).clone()


@torch.no_grad()
def pruned_clap_head(head, indices, moments=None, n_statistic_rows=None, hidden_fraction=None):
    """Remove rows from CLAP's head; the module's docstring says what is exact.

    Arguments
    ---------
    head : tinyclap.models.projection.ClapProjection. Of a folded student or not.
    indices : sequence of int. Entries to keep, in the order wanted.
    moments : dict of str to array, optional
        A ranking's ``moments.npz``: ``pre_norm_second_moment`` (D, D) of the LayerNorm's input; for `hidden_fraction`
        also ``hidden_mean`` and ``hidden_std`` (D,) of GELU(e1).
    n_statistic_rows : int, optional
        r, for σ where the kept bias is not zero; a direction takes d_in + D weights, a row D. None: all rows; exact.
    hidden_fraction : float, optional
        Fraction of the GELU's units to compute, in (0, 1], chosen by ``‖their column of W2‖ · std``; approximate.
    """
    n_dims = head.d_out
    kept = chosen_dims(indices, n_dims)
    second = head.linear2.weight.double()
    second = second - second.mean(dim=0)
    needs_scale = bool(head.layer_norm.bias[kept].ne(0).any())
    rows, directions, rest = kept, second.new_zeros(0, n_dims), 0.0
    dropped = _others(kept, n_dims)
    if needs_scale and (n_statistic_rows is None or n_statistic_rows >= len(dropped)):
        rows = kept + dropped
    elif needs_scale:
        if n_statistic_rows < 0:
            raise ConfigError(f"n_statistic_rows is at least 0, not {n_statistic_rows}")
        second_moment = _moment(moments, PRE_NORM, (n_dims, n_dims)).to(second)
        directions, rest = principal_directions(second_moment, dropped, n_statistic_rows)
    outputs = torch.cat([second[rows], directions @ second])
    hidden = rows + _others(rows, n_dims)
    if hidden_fraction is not None:
        hidden = _kept_hidden(outputs, rows, moments, hidden_fraction)
    gone = _others(hidden, n_dims)
    made = PrunedClapProjection(
        head.config["d_in"], n_dims, len(kept), len(hidden), len(rows) if needs_scale else 0, len(directions)
    )
    mean_row = torch.full((1 if gone else 0, n_dims), 1 / n_dims).to(second)
    combinations = torch.cat([torch.eye(n_dims).to(second)[hidden], mean_row, directions])
    bias = head.linear1.bias
    bias = None if bias is None else combinations @ bias.double()
    made.linear1 = _linear_like(head.linear1, combinations @ head.linear1.weight.double(), bias)
    means = outputs[:, gone] @ _moment(moments, HIDDEN_MEAN, (n_dims,)).to(outputs)[gone] if gone else None
    made.linear2 = _linear_like(head.linear2, outputs[:, hidden], means)
    made._set_norm(head.layer_norm.weight, head.layer_norm.bias, kept, rest)
    return made.train(head.training)


def principal_directions(second_moment, dropped, n_directions):
    """Directions (r, D) in which the dropped, centred part of a LayerNorm's input z has most energy, and that outside.

    They are orthonormal combinations u of centred entries: the entries of u add up to zero, so u · (z − μ) = u · z.
    `second_moment` (D, D) is E[z zᵀ], float64; `dropped` are the entries not kept; r = `n_directions` < len(dropped).
    """
    n_dims = len(second_moment)
    centring = torch.eye(n_dims).to(second_moment) - 1 / n_dims
    centred = centring @ second_moment @ centring
    energies, vectors = torch.linalg.eigh(centred[dropped][:, dropped])
    n_rest = len(dropped) - n_directions
    directions = second_moment.new_zeros(n_directions, n_dims)
    directions[:, dropped] = vectors[:, n_rest:].T.flip(0)
    return directions @ centring, float(energies[:n_rest].clamp(min=0).sum())


def chosen_dims(indices, n_dims):
    """Check dimensions to keep, each once and in [0, n_dims): a list of int."""
    kept = [int(index) for index in indices]
    wrong = sorted({index for index in kept if not 0 <= index < n_dims})
    if not kept or wrong or len(set(kept)) != len(kept):
        what = f"{wrong[:5]} are none" if wrong else "one comes twice" if kept else "none is left"
        raise ConfigError(f"dimensions to keep are places 0 to {n_dims - 1}, each once and at least one; {what}")
    return kept


def rows_of(linear, indices):
    """The linear map that gives some of the outputs of `linear`, in the order of `indices`."""
    return _linear_like(linear, linear.weight[indices], None if linear.bias is None else linear.bias[indices])


def _others(taken, n_dims):
    """Indices below `n_dims` that are not in `taken`, rising."""
    taken = set(taken)
    return [index for index in range(n_dims) if index not in taken]


@torch.no_grad()
def _linear_like(linear, weight, bias=None):
    """A linear map of other weights, with the dtype, device, mode and ``requires_grad`` of `linear`."""
    made = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None).to(linear.weight)
    made.weight.copy_(weight)
    if bias is not None:
        made.bias.copy_(bias)
    return made.requires_grad_(linear.weight.requires_grad).train(linear.training)


def _moment(moments, name, shape):
    """One of a ranking's moments, checked."""
    if moments is None or name not in moments:
        raise ConfigError(
            f"this needs {name} over a training set; rank the dimensions with hparams/rank_latent.yaml and give its "
            "moments.npz, or leave the scale exact (no statistic rows) and the hidden units whole"
        )
    found = torch.as_tensor(moments[name], dtype=torch.float64)
    if found.shape != torch.Size(shape):
        raise ConfigError(f"{name} is {tuple(found.shape)}, this head needs {tuple(shape)}; rank this very model")
    return found


def _kept_hidden(second, rows, moments, hidden_fraction):
    """Units of the GELU that stay: `rows` first, then those of most effect on the rows `second` of W2."""
    n_dims = second.shape[1]
    if not 0 < hidden_fraction <= 1:
        raise ConfigError(f"hidden_fraction is in (0, 1], not {hidden_fraction}")
    effect = second.norm(dim=0) * _moment(moments, HIDDEN_STD, (n_dims,)).to(second)
    best = effect.argsort(descending=True)[: max(1, round(hidden_fraction * n_dims))].tolist()
    return rows + sorted(set(best) - set(rows))

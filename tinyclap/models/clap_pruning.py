"""CLAP's head with fewer outputs: rows of weights, the moments that stand for those that are gone, hidden units.

What is exact and what is not: see :mod:`tinyclap.models.pruned_head`.
"""

import torch

from tinyclap.errors import ConfigError
from tinyclap.models.pruned_head import PrunedClapProjection, chosen_dims, linear_like, remaining, set_norm

PRE_NORM, HIDDEN_MEAN, HIDDEN_STD = "pre_norm_second_moment", "hidden_mean", "hidden_std"


@torch.no_grad()
def pruned_clap_head(head, indices, moments=None, n_statistic_rows=None, hidden_fraction=None):
    """Remove rows from CLAP's head; see :mod:`tinyclap.models.pruned_head` for what is exact.

    Arguments
    ---------
    head : tinyclap.models.projection.ClapProjection
        It is not changed; of a folded student or not.
    indices : sequence of int
        Entries to keep, in the order in which they are wanted.
    moments : dict of str to array, optional
        Over a training set: ``pre_norm_second_moment`` (D, D) of the LayerNorm's input; for `hidden_fraction` also
        ``hidden_mean`` and ``hidden_std`` (D,) of GELU(e1). A ranking's ``moments.npz`` has them.
    n_statistic_rows : int, optional
        r: directions for the scale σ where the kept bias is not zero. None computes all rows for it, which is exact
        and saves nothing but outputs; so does an r of at least as many as were dropped. A direction takes d_in + D
        weights, a row D. Where the kept bias is zero it has no effect: σ cancels.
    hidden_fraction : float, optional
        Share of the GELU's units to compute, in (0, 1], chosen by ``‖their column of W2‖ · std``; those of the kept
        entries always stay. The means of the others go into a bias. Approximate.

    Returns
    -------
    PrunedClapProjection

    Raises
    ------
    ConfigError
        Dimensions that are none, moments that are missing or of another width, or an option out of range.
    """
    n_dims = head.d_out
    kept = chosen_dims(indices, n_dims)
    weights = _Centred(head)
    needs_scale = bool(head.layer_norm.bias[kept].ne(0).any())
    rows, directions, rest = kept, weights.second.new_zeros(0, n_dims), 0.0
    dropped = remaining(kept, n_dims)
    if needs_scale and (n_statistic_rows is None or n_statistic_rows >= len(dropped)):
        rows = kept + dropped
    elif needs_scale:
        if n_statistic_rows < 0:
            raise ConfigError(f"n_statistic_rows is at least 0, not {n_statistic_rows}")
        second_moment = _moment(moments, PRE_NORM, (n_dims, n_dims)).to(weights.second)
        directions, rest = principal_directions(second_moment, dropped, n_statistic_rows)
    second = torch.cat([weights.second[rows], directions @ weights.second])
    hidden = rows + remaining(rows, n_dims)
    if hidden_fraction is not None:
        hidden = _kept_hidden(second, rows, moments, hidden_fraction)
    gone = remaining(hidden, n_dims)
    made = PrunedClapProjection(
        head.config["d_in"], n_dims, len(kept), len(hidden), len(rows) if needs_scale else 0, len(directions)
    )
    mean_row = torch.full((1 if gone else 0, n_dims), 1 / n_dims).to(weights.second)
    chosen = torch.eye(n_dims).to(weights.second)[hidden]
    made.linear1 = weights.of_first(torch.cat([chosen, mean_row, directions]))
    means = second[:, gone] @ _moment(moments, HIDDEN_MEAN, (n_dims,)).to(second)[gone] if gone else None
    made.linear2 = linear_like(head.linear2, second[:, hidden], means)
    set_norm(made, head.layer_norm.weight, head.layer_norm.bias, kept, rest)
    return made.train(head.training)


class _Centred:
    """The weights of CLAP's head in float64: W1 as it is, the rows of W2 without their mean row."""

    def __init__(self, head):
        self.linear1 = head.linear1
        second = head.linear2.weight.double()
        self.second = second - second.mean(dim=0)

    def of_first(self, combinations):
        """The linear map that gives `combinations` (rows, D) of e1."""
        weight, bias = self.linear1.weight.double(), self.linear1.bias
        return linear_like(self.linear1, combinations @ weight, None if bias is None else combinations @ bias.double())


def principal_directions(second_moment, dropped, n_directions):
    """Directions in which the dropped, centred part of a LayerNorm's input has most of its energy.

    Arguments
    ---------
    second_moment : torch.Tensor, shape (D, D)
        E[z zᵀ] of the LayerNorm's input, float64.
    dropped : list of int
        Entries that are not kept.
    n_directions : int
        r, below the number of dropped ones.

    Returns
    -------
    torch.Tensor, shape (r, D)
        Orthonormal combinations of z's centred entries: row u gives ``u · (z − μ)``, and its entries add up to zero, so
        that ``u · z`` gives the same. Zero on kept entries but for that constant.
    float
        Mean energy of the dropped, centred part outside them.

    Example
    -------
    >>> directions, rest = principal_directions(torch.eye(4).double(), [2, 3], 1)  # energies 1 and ½
    >>> directions.shape, round(rest, 6)
    (torch.Size([1, 4]), 0.5)
    """
    n_dims = len(second_moment)
    centring = torch.eye(n_dims).to(second_moment) - 1 / n_dims
    centred = centring @ second_moment @ centring
    energies, vectors = torch.linalg.eigh(centred[dropped][:, dropped])
    n_rest = len(dropped) - n_directions
    directions = second_moment.new_zeros(n_directions, n_dims)
    directions[:, dropped] = vectors[:, n_rest:].T.flip(0)
    return directions @ centring, float(energies[:n_rest].clamp(min=0).sum())


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

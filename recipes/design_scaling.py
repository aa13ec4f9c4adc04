"""From budgets to a PhiNet in one step: the inverse of its cost (hardware-aware scaling).

Source: the idea of Paissan, Ancilotto & Farella, "PhiNets: a scalable backbone for low-power AI at the edge", ACM TECS
2022, that width, shape factor and expansion can be worked out from budgets of operations, parameters and memory. The
equations are worked out here from the layers of our PhiNet; no constant of the paper's is used.
"""

import math
from typing import NamedTuple

from design_search import Found
from design_space import N_BYTES, Backbone, Design, backbone, ending, joined, phinet_blocks, spectrogram_of

LOWEST_BETA, HIGHEST_BETA = 0.25, 1.5  # beyond, blocks get lopsided
LOWEST_ALPHA = 0.1


class Sums(NamedTuple):
    """Cost of a PhiNet of given width before widths are truncated: (constant, slope in t₀, slope in t₀·β) of each."""

    n_parameters: tuple
    n_macs: tuple
    n_alive: tuple

    def solve(self, budgets):
        """(t₀, t₀·β) that spend parameters and MACs to the last, by Cramer's rule."""
        (p0, p1, p2), (m0, m1, m2) = self.n_parameters, self.n_macs
        p, m = budgets.n_parameters - p0, budgets.n_macs - m0
        determinant = p1 * m2 - p2 * m1
        return (p * m2 - p2 * m) / determinant, (p1 * m - p * m1) / determinant


def sums(alpha, n_layers, spectrogram, embed_width, head, embed_dim, folded=False):
    """Cost of a PhiNet with its head, linear in t₀ and t₀·β, since block i expands by ``t₀(N − i)/N + t₀β·i/N``.

    Arguments
    ---------
    alpha : float
    n_layers : int
    spectrogram : (int, int)
        Frames F and mel bands M.
    embed_width, head, embed_dim, folded
        As for :func:`design_space.ending`.

    Returns
    -------
    Sums

    Example
    -------
    >>> sums(1.5, 7, (690, 64), 2048, "clap", 1024).n_parameters[0] > 3_147_776
    True
    """
    copies = 1 if folded else 2
    height, width = ((size - 2) // 2 + 1 for size in spectrogram)
    stem, first, places = 48 * alpha, 24 * alpha, height * width
    n_parameters = [2 * spectrogram[1] + 9 + (copies + 1) * stem + stem * (9 + copies + first) + copies * first, 0, 0]
    n_macs = [places * (9 + stem + stem * (9 + first)), 0, 0]
    n_alive = [2 * spectrogram[0] * spectrogram[1] + first * places, 0, 0]
    for block, stride, _, n_in, n_out in phinet_blocks(alpha, 1, 1, n_layers):
        before = height * width
        if stride == 2:
            height, width = (height + 1) // 2, (width + 1) // 2
        places = height * width
        for slope, part in ((1, (n_layers - block) / n_layers), (2, block / n_layers)):
            n_parameters[slope] += part * n_in * (n_in + 9 + n_out + 2 * copies)
            n_macs[slope] += part * n_in * (n_in * before + (9 + n_out) * places)
            if block == 1:  # the widest map of all
                n_alive[slope] += part * n_in * (before + places if folded else 2 * before)
        n_parameters[0] += copies * n_out
    last = ending(Backbone(None, n_out, height, width, 0), embed_width, head, embed_dim, folded)
    n_parameters[0] += last.n_parameters
    n_macs[0] += last.n_macs
    return Sums(tuple(n_parameters), tuple(n_macs), tuple(n_alive))


class Scaled(NamedTuple):
    """A student worked out from its budgets; `held_beta` is the shape factor where none solves the equations."""

    found: Found
    held_beta: float | None


def scaled(space, budgets, n_layers, hop_length, last, t_zero=6.0):
    """The PhiNet of N layers that spends its budgets to the last: width, shape factor and expansion from the budgets.

    Arguments
    ---------
    space : design_search.Space
    budgets : design_search.Budgets
        Parameters and MACs are needed; with memory, t₀ follows from it, otherwise it is given.
    n_layers, hop_length : int
    last : (int or None, str)
        ``embed_width`` and head.
    t_zero : float
        Expansion where no memory is given.

    Returns
    -------
    Scaled or None
        None where nothing fits.

    Notes
    -----
    For a given width, parameters and MACs are two linear equations in t₀ and t₀·β. The width is then the zero of what
    is left, found by bisection: the memory of block 1, whose map is the widest, less its budget; or the expansion less
    `t_zero`. Where that needs a shape factor outside [0.25, 1.5] or an expansion outside [1, 12], β is held at an end,
    the expansion at `t_zero`, and the width is the largest that fits: one budget binds, the others are left over.
    Numbers are cut after three places, and a network's widths are cut too, so the budgets hold.
    """
    spectrogram = spectrogram_of("phinet", hop_length, space.clip_s)

    def at(alpha):
        parts = sums(alpha, n_layers, spectrogram, *last, space.embed_dim, space.folded)
        first, both = parts.solve(budgets)
        if budgets.peak_bytes is None:
            return first, both, first - t_zero
        alive = parts.n_alive[0] + parts.n_alive[1] * first + parts.n_alive[2] * both
        return first, both, alive - budgets.peak_bytes / N_BYTES

    for low, high in _brackets(lambda alpha: at(alpha)[2]):
        rises = at(high)[2] > 0
        alpha = _largest(lambda width, rises=rises: (at(width)[2] <= 0) == rises, low, high)
        first, both, _ = at(alpha)
        if 1 <= first <= 12 and LOWEST_BETA <= both / first <= HIGHEST_BETA:
            found = _found(space, budgets, (alpha, both / first, first, n_layers), hop_length, last)
            if found is not None:
                return Scaled(found, None)
    return _with_held_beta(space, budgets, n_layers, hop_length, last, t_zero)


def _with_held_beta(space, budgets, n_layers, hop_length, last, t_zero):
    """The better of the two students with the shape factor at an end, as wide as fits."""
    candidates = []
    for beta in (LOWEST_BETA, HIGHEST_BETA):

        def of(alpha, beta=beta):
            return _found(space, budgets, (alpha, beta, t_zero, n_layers), hop_length, last)

        if of(LOWEST_ALPHA) is not None:
            candidates.append(Scaled(of(_largest(lambda alpha: of(alpha) is not None, LOWEST_ALPHA, 8.0)), beta))
    return max(candidates, key=lambda each: each.found.share, default=None)


def _brackets(function):
    """Neighbouring widths between which a function changes sign, the largest first."""
    alphas = [LOWEST_ALPHA * 1.1**step for step in range(49)]  # up to 9.7
    values = [function(alpha) for alpha in alphas]
    pairs = zip(alphas, alphas[1:], values, values[1:], strict=False)
    return [(low, high) for low, high, before, after in pairs if before * after < 0][::-1]


def _largest(holds, low, high):
    """The largest number in [low, high] for which something holds that holds at `low`, by bisection."""
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _found(space, budgets, numbers, hop_length, last):
    """The student with these alpha, beta, t_zero and N, cut after three places; None where it does not fit."""
    *factors, n_layers = numbers
    alpha, beta, t_zero = (math.floor(1000 * number + 1e-6) / 1000 for number in factors)
    encoder = {"alpha": alpha, "beta": beta, "t_zero": t_zero, "n_layers": n_layers}
    body = backbone("phinet", encoder, spectrogram_of("phinet", hop_length, space.clip_s), space.folded)
    whole = joined(body.cost, ending(body, *last, space.embed_dim, space.folded))
    if not budgets.admit(whole):
        return None
    embed_width, head = last
    design = Design("phinet", tuple(encoder.items()), embed_width, hop_length, head, space.embed_dim)
    return Found(design, body.cost, whole, budgets.share(body.cost, whole))

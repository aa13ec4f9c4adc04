"""Which students of a grid fit a budget, by the formulas of design_space.py, and which make the most of it."""

import math
from typing import NamedTuple

from design_space import Backbone, Cost, Design, backbone, cost_of, ending, joined, spectrogram_of

# What is searched.
ALPHAS = tuple(round(0.1 + 0.05 * step, 2) for step in range(59))
BETAS = (0.5, 0.75, 1.0, 1.5)
T_ZEROS = (2, 3, 4, 5, 6)
N_LAYERS = (4, 5, 6, 7, 8, 9)
MN_WIDTHS = tuple(round(0.1 * step, 1) for step in range(1, 31))


class Budgets(NamedTuple):
    """What a student may cost at most; None is no limit. Named as in :class:`design_space.Cost`."""

    n_parameters: float | None = None
    n_macs: float | None = None
    peak_bytes: float | None = None

    def admit(self, cost):
        """Whether a cost is within all of them."""
        return all(limit is None or spent <= limit for spent, limit in zip(cost, self, strict=True))

    def share(self, body, whole):
        """How much of the budgets is put to use, in [0, 1]: the geometric mean over those that are given.

        Parameters and MACs count where they are the backbone's, since a head listens to nothing; memory is the whole
        student's.
        """
        spent = (body.n_parameters, body.n_macs, whole.peak_bytes)
        shares = [used / limit for used, limit in zip(spent, self, strict=True) if limit is not None]
        return math.prod(shares) ** (1 / len(shares))


class Found(NamedTuple):
    """A student that fits, what its backbone and all of it cost, and the share of the budgets that it uses."""

    design: Design
    body: Cost
    whole: Cost
    share: float


class Space(NamedTuple):
    """What is to be searched.

    Attributes
    ----------
    families : list of {"phinet", "mn"}
    heads : list of {"clap", "linear", "mlp"}
    embed_widths : list of (int or None)
        Of a PhiNet's 1×1 convolution before pooling.
    hop_lengths : list of int
    embed_dim : int
    clip_s : float
    folded : bool
    squeeze_excite : bool
        PhiNets with squeeze-excite and hard-swish.
    """

    families: list
    heads: list
    embed_widths: list
    hop_lengths: list
    embed_dim: int = 1024
    clip_s: float = 5.0
    folded: bool = False
    squeeze_excite: bool = False

    def encoders(self, family):
        """Arguments of every encoder of a family, the small ones first."""
        if family == "mn":
            return [{"width": width} for width in MN_WIDTHS]
        extras = {"squeeze_excite": True, "h_swish": True} if self.squeeze_excite else {}
        return [
            {"alpha": alpha, "beta": beta, "t_zero": t_zero, "n_layers": n_layers, **extras}
            for alpha in ALPHAS
            for beta in BETAS
            for t_zero in T_ZEROS
            for n_layers in N_LAYERS
            if int(t_zero * min(1, beta) * int(24 * alpha)) >= 1
        ]

    def endings(self, family):
        """Every (embed_width, head) of a family."""
        widths = self.embed_widths if family == "phinet" else [None]
        return [(width, head) for width in widths for head in self.heads]


def search(space, budgets):
    """All students of a space that fit, those that put most of the budgets to use first; of equals the plainest.

    Arguments
    ---------
    space : Space
    budgets : Budgets

    Returns
    -------
    list of Found

    Example
    -------
    >>> space = Space(["phinet"], ["clap"], [2048], [320])
    >>> search(space, Budgets(n_parameters=3e6))
    []
    """
    found = []
    for family in space.families:
        for hop_length in space.hop_lengths:
            spectrogram = spectrogram_of(family, hop_length, space.clip_s)
            for encoder in space.encoders(family):
                body = backbone(family, encoder, spectrogram, space.folded)
                if budgets.admit(body.cost):
                    found += _with_endings(space, budgets, family, hop_length, encoder, body)
    return sorted(found, key=lambda each: (-each.share, each.whole, each.design.embed_width or 0, repr(each.design)))


def _with_endings(space, budgets, family, hop_length, encoder, body):
    """Those students of one backbone that fit."""
    for embed_width, head in space.endings(family):
        whole = joined(body.cost, ending(body, embed_width, head, space.embed_dim, space.folded))
        if budgets.admit(whole):
            design = Design(family, tuple(encoder.items()), embed_width, hop_length, head, space.embed_dim)
            yield Found(design, body.cost, whole, budgets.share(body.cost, whole))


def best_of_each_kind(found):
    """The first of each family, depth, head and hop; neighbours in the grid are one student in all that matters."""
    firsts = {}
    for entry in found:
        design = entry.design
        kind = design.family, dict(design.encoder).get("n_layers"), design.head, design.hop_length
        firsts.setdefault(kind, entry)
    return list(firsts.values())


def floors(space):
    """How small a head lets a PhiNet be: for each ending of a space, its own parameters and the smallest student.

    Arguments
    ---------
    space : Space

    Returns
    -------
    list of dict
        ``head``, ``embed_width``, ``head_parameters`` (the head alone, as it is trained), ``smallest`` and
        ``smallest_folded`` (parameters of the smallest student of the search, as trained and as it runs).

    Example
    -------
    >>> floors(Space(["phinet"], ["clap"], [2048], [320]))[0]["head_parameters"]
    3147776
    """
    encoder = min(
        space.encoders("phinet"),
        key=lambda each: backbone("phinet", each, spectrogram_of("phinet", 320, 1.0)).cost.n_parameters,
    )
    rows = []
    for embed_width, head in space.endings("phinet"):
        design = Design("phinet", tuple(encoder.items()), embed_width, 320, head, space.embed_dim)
        n_in = embed_width or backbone("phinet", encoder, (100, 64)).n_channels
        rows.append(
            {
                "head": head,
                "embed_width": embed_width,
                "head_parameters": ending(Backbone(None, n_in, 1, 1, 0), None, head, space.embed_dim).n_parameters,
                "smallest": cost_of(design, 1.0).n_parameters,
                "smallest_folded": cost_of(design, 1.0, folded=True).n_parameters,
            }
        )
    return sorted(rows, key=lambda row: row["smallest"])

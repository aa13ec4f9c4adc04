"""Heads from an encoder's features to the shared embedding: the published one of CLAP, and two smaller ones.

Source: Elizalde et al., "CLAP: Learning Audio Concepts from Natural Language Supervision", ICASSP 2023 (projection).
"""

import copy

import torch.nn.functional as F
from torch import nn

from tinyclap.config.registry import configurable
from tinyclap.errors import ConfigError
from tinyclap.models.clap_pruning import pruned_clap_head
from tinyclap.models.pruned_head import chosen_dims, rows_of
from tinyclap.models.tag_head import TagHead

_ACTIVATIONS = {"gelu": nn.GELU, "relu": nn.ReLU, "hardswish": nn.Hardswish}


@configurable
class ClapProjection(nn.Module):
    """CLAP's head: ``LayerNorm(e1 + dropout(W2 GELU(e1)))`` with ``e1 = W1 x``; no biases but the norm's.

    Arguments
    ---------
    d_in : int
        Width of the encoder's features.
    d_out : int
        Width of the shared embedding.
    dropout : float
        Probability, in [0, 1), on the second branch.

    Notes
    -----
    d_in·d_out + d_out² + 2·d_out parameters: 3,147,776 for 2048 → 1024, which is 71 % of the published headline
    student. The GELU is the exact one (erf); eps of the norm is 1e-5.

    Example
    -------
    >>> import torch
    >>> head = ClapProjection(2048, 1024)
    >>> sum(p.numel() for p in head.parameters()), head(torch.zeros(2, 2048)).shape
    (3147776, torch.Size([2, 1024]))
    """

    def __init__(self, d_in, d_out, dropout=0.5):
        super().__init__()
        self.d_in, self.d_out = d_in, d_out
        self.linear1 = nn.Linear(d_in, d_out, bias=False)
        self.linear2 = nn.Linear(d_out, d_out, bias=False)
        self.layer_norm = nn.LayerNorm(d_out)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features):
        """Map `features` (…, d_in) to (…, d_out), not normalised."""
        first = self.linear1(features)
        return self.layer_norm(first + self.dropout(self.linear2(F.gelu(first))))

    def keep_dims(self, indices, moments=None, n_statistic_rows=None, hidden_fraction=None):
        """Keep some of the outputs, in the order of `indices`, and remove the rows of weights that only others need.

        Arguments
        ---------
        indices, moments, n_statistic_rows, hidden_fraction
            See :func:`tinyclap.models.clap_pruning.pruned_clap_head`.

        Returns
        -------
        tinyclap.models.pruned_head.PrunedClapProjection
        """
        return pruned_clap_head(self, indices, moments, n_statistic_rows, hidden_fraction)


@configurable
class LinearHead(nn.Module):
    """One linear map, the smallest head.

    Arguments
    ---------
    d_in, d_out : int
        Widths before and after.
    bias : bool
        Whether a constant is added.

    Example
    -------
    >>> import torch
    >>> LinearHead(8, 4)(torch.zeros(2, 8)).shape
    torch.Size([2, 4])
    """

    def __init__(self, d_in, d_out, bias=True):
        super().__init__()
        self.d_in, self.d_out = d_in, d_out
        self.linear = nn.Linear(d_in, d_out, bias=bias)

    def forward(self, features):
        """Map `features` (…, d_in) to (…, d_out), not normalised."""
        return self.linear(features)

    def keep_dims(self, indices):
        """Keep some of the outputs, in the order of `indices`: a head with those rows, exactly."""
        kept = chosen_dims(indices, self.d_out)
        head = type(self)(**{**self.__dict__["_arguments"], "d_out": len(kept)})
        head.linear = rows_of(self.linear, kept)
        return head.train(self.training)


@configurable
class MlpHead(nn.Module):
    """Linear, activation, dropout, linear: two matrices of any width between.

    Arguments
    ---------
    d_in, d_hidden, d_out : int
        Widths before, between and after.
    dropout : float
        Probability, in [0, 1), on the hidden features.
    activation : {"gelu", "relu", "hardswish"}
        The nonlinearity between.

    Raises
    ------
    ConfigError
        The activation is none of these.

    Example
    -------
    >>> import torch
    >>> MlpHead(8, 16, 4)(torch.zeros(2, 8)).shape
    torch.Size([2, 4])
    """

    def __init__(self, d_in, d_hidden, d_out, dropout=0.0, activation="gelu"):
        super().__init__()
        if activation not in _ACTIVATIONS:
            raise ConfigError(f"activation {activation!r} is none of {', '.join(_ACTIVATIONS)}")
        self.d_in, self.d_out = d_in, d_out
        self.linear1 = nn.Linear(d_in, d_hidden)
        self.activation = _ACTIVATIONS[activation]()
        self.dropout = nn.Dropout(dropout)
        self.linear2 = nn.Linear(d_hidden, d_out)

    def forward(self, features):
        """Map `features` (…, d_in) to (…, d_out), not normalised."""
        return self.linear2(self.dropout(self.activation(self.linear1(features))))

    def keep_dims(self, indices):
        """Keep some of the outputs, in the order of `indices`: a head with those rows, exactly."""
        kept = chosen_dims(indices, self.d_out)
        head = type(self)(**{**self.__dict__["_arguments"], "d_out": len(kept)})
        head.linear1 = copy.deepcopy(self.linear1)
        head.linear2 = rows_of(self.linear2, kept)
        return head.train(self.training)


def make_head(encoder, kind, embed_dim, hidden_dim=512, dropout=0.5):
    """The head that maps an encoder's clip vector into the shared space; the knob of the recipes.

    Arguments
    ---------
    encoder : torch.nn.Module
        Has ``embed_dim``, the width of its clip vector.
    kind : str
        ``"clap"``: the published projection (3.1 M parameters for 2048 → 1024); ``"linear"``: one map; ``"mlp"``: one
        hidden layer of `hidden_dim`; ``"tag"``: a tagger's logits (:class:`tinyclap.models.tag_head.TagHead`).
    embed_dim : int
        D, the teacher's.
    hidden_dim : int
    dropout : float
        In ``"clap"`` and ``"mlp"``.

    Returns
    -------
    torch.nn.Module

    Raises
    ------
    ConfigError
        `kind` is unknown.
    """
    if kind == "clap":
        return ClapProjection(encoder.embed_dim, embed_dim, dropout)
    if kind == "linear":
        return LinearHead(encoder.embed_dim, embed_dim)
    if kind == "tag":
        return TagHead(encoder.embed_dim, embed_dim)
    if kind == "mlp":
        return MlpHead(encoder.embed_dim, hidden_dim, embed_dim, dropout)
    raise ConfigError(f"head {kind!r} is unknown; choose 'clap', 'linear', 'mlp' or 'tag'")

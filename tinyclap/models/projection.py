"""Projection heads from an encoder's clip vector to the shared embedding: CLAP's, linear, MLP, and for tags.

Source: Elizalde et al., "CLAP: Learning Audio Concepts from Natural Language Supervision", ICASSP 2023 (projection).
"""

import copy

import torch
import torch.nn.functional as F
from torch import nn

from tinyclap.config.registry import configurable
from tinyclap.errors import ConfigError
from tinyclap.models.pruned_head import chosen_dims, pruned_clap_head, rows_of

_ACTIVATIONS = {"gelu": nn.GELU, "relu": nn.ReLU, "hardswish": nn.Hardswish}


@configurable
class ClapProjection(nn.Module):
    """CLAP's head: ``LayerNorm(e1 + dropout(W2 GELU(e1)))`` with ``e1 = W1 x``; no biases but the norm's.

    Arguments
    ---------
    d_in, d_out : int
    dropout : float. On the second branch.
    """

    def __init__(self, d_in, d_out, dropout=0.5):
        super().__init__()
        self.d_in, self.d_out = d_in, d_out
        self.linear1 = nn.Linear(d_in, d_out, bias=False)
        self.linear2 = nn.Linear(d_out, d_out, bias=False)
        self.layer_norm = nn.LayerNorm(d_out)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features):
        """(…, d_in) → (…, d_out), not normalised."""
        first = self.linear1(features)
        return self.layer_norm(first + self.dropout(self.linear2(F.gelu(first))))

    def keep_dims(self, indices, moments=None, n_statistic_rows=None, hidden_fraction=None):
        """A head with some of the outputs.

        Arguments
        ---------
        indices, moments, n_statistic_rows, hidden_fraction. See :func:`tinyclap.models.pruned_head.pruned_clap_head`.
        """
        return pruned_clap_head(self, indices, moments, n_statistic_rows, hidden_fraction)


class _RowHead(nn.Module):
    """Base of heads that end in a linear map, called `last`: keeping some outputs is keeping its rows."""

    last = "linear"

    def keep_dims(self, indices):
        """A copy with some of the outputs, in the order of `indices`; exact."""
        kept, head = chosen_dims(indices, self.d_out), copy.deepcopy(self)
        setattr(head, self.last, rows_of(getattr(self, self.last), kept))
        head.d_out = len(kept)
        head.__dict__["_arguments"] = {**self.__dict__["_arguments"], "d_out": len(kept)}
        return head


@configurable
class LinearHead(_RowHead):
    """One linear map from `d_in` to `d_out`, with or without `bias`."""

    def __init__(self, d_in, d_out, bias=True):
        super().__init__()
        self.d_in, self.d_out = d_in, d_out
        self.linear = nn.Linear(d_in, d_out, bias=bias)

    def forward(self, features):
        """(…, d_in) → (…, d_out), not normalised."""
        return self.linear(features)


@configurable
class TagHead(_RowHead):
    """A linear map to standardised logits, then the teacher's mean and standard deviation of each tag's logit.

    AudioSet's tags differ by orders of magnitude in frequency; given their biases, all tags are learnt on one scale.
    `d_in` features, `d_out` tags.
    """

    def __init__(self, d_in, d_out):
        super().__init__()
        self.d_in, self.d_out = d_in, d_out
        self.linear = nn.Linear(d_in, d_out)
        nn.init.normal_(self.linear.weight, std=0.02)
        nn.init.zeros_(self.linear.bias)
        self.register_buffer("logit_mean", torch.zeros(d_out))
        self.register_buffer("logit_std", torch.ones(d_out))

    def calibrate(self, logit_mean, logit_std):
        """Set the teacher's mean and standard deviation of each logit over unlabelled clips, both (d_out,)."""
        if len(logit_mean) != self.d_out or len(logit_std) != self.d_out:
            raise ConfigError(f"calibration of {len(logit_mean)} tags for a head of {self.d_out}")
        self.logit_mean.copy_(torch.as_tensor(logit_mean))
        self.logit_std.copy_(torch.as_tensor(logit_std))

    def forward(self, features):
        """(…, d_in) → logits (…, d_out)."""
        return self.logit_mean + self.logit_std * self.linear(features)

    def keep_dims(self, indices):
        """A copy with some of the outputs, in the order of `indices`; exact."""
        kept, head = list(indices), super().keep_dims(indices)
        head.logit_mean, head.logit_std = self.logit_mean[kept], self.logit_std[kept]
        return head


@configurable
class MlpHead(_RowHead):
    """Linear, activation, dropout, linear.

    Arguments
    ---------
    d_in, d_hidden, d_out : int
    dropout : float. On the hidden features.
    activation : {"gelu", "relu", "hardswish"}
    """

    last = "linear2"

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
        """(…, d_in) → (…, d_out), not normalised."""
        return self.linear2(self.dropout(self.activation(self.linear1(features))))


def make_head(encoder, kind, embed_dim, hidden_dim=512, dropout=0.5):
    """A head for an encoder, by name.

    Arguments
    ---------
    encoder : torch.nn.Module. With ``embed_dim``, the width of its clip vector.
    kind : {"clap", "linear", "mlp", "tag"}. "clap" has 3.1 M parameters for 2048 → 1024; "tag" gives a tagger's logits.
    embed_dim, hidden_dim : int. D, the teacher's, and the width of the hidden layer of "mlp".
    dropout : float. In "clap" and "mlp".
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

"""A head for students of a tagger: its logits start where the teacher's lie."""

import torch
from torch import nn

from tinyclap.config.registry import configurable
from tinyclap.errors import ConfigError
from tinyclap.models.pruned_head import chosen_dims, rows_of


@configurable
class TagHead(nn.Module):
    """One linear map to standardised logits, then the teacher's own mean and spread of each tag.

    AudioSet's tags differ by orders of magnitude in how often they are heard. A plain head spends its first epochs on
    learning 527 biases; here they are given, and every tag is learnt on one scale.

    Arguments
    ---------
    d_in, d_out : int
        Width of the features, number of tags.

    Example
    -------
    >>> TagHead(8, 527)(torch.zeros(2, 8)).shape
    torch.Size([2, 527])
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
        """Set the teacher's mean and standard deviation of each logit over unlabelled clips, both of shape (d_out,)."""
        if len(logit_mean) != self.d_out or len(logit_std) != self.d_out:
            raise ConfigError(f"calibration of {len(logit_mean)} tags for a head of {self.d_out}")
        self.logit_mean.copy_(torch.as_tensor(logit_mean))
        self.logit_std.copy_(torch.as_tensor(logit_std))

    def forward(self, features):
        """Map `features` (…, d_in) to logits (…, d_out)."""
        return self.logit_mean + self.logit_std * self.linear(features)

    def keep_dims(self, indices):
        """Keep some of the outputs, in the order of `indices`: a head with those rows, exactly."""
        kept = chosen_dims(indices, self.d_out)
        head = type(self)(**{**self.__dict__["_arguments"], "d_out": len(kept)})
        head.linear = rows_of(self.linear, kept)
        head.calibrate(self.logit_mean[kept], self.logit_std[kept])
        return head.train(self.training)

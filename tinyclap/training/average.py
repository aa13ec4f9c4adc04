"""Averages of a network's weights and statistics over training: exponential, or with equal weights.

Source: Tarvainen & Valpola, "Mean teachers are better role models", NeurIPS 2017 (exponential; the averaging alone);
Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization", UAI 2018 (equal weights: SWA).
"""

import copy

import torch
from torch import nn


class WeightAverage(nn.Module):
    """The running average of a module, itself a module of the same class.

    Arguments
    ---------
    module : torch.nn.Module
        The network that is trained.
    decay : float or None
        Weight of the past, in [0, 1); early on it is (1 + n) / (10 + n) after n updates where that is smaller, so that
        the random start is forgotten. None: all updates count alike.
    """

    def __init__(self, module, decay):
        super().__init__()
        self.decay = decay
        self.average = copy.deepcopy(module).requires_grad_(False).eval()
        self.register_buffer("n_updates", torch.zeros((), dtype=torch.long))

    def train(self, mode=True):
        """Stay in eval mode."""
        return super().train(False)

    @torch.no_grad()
    def update(self, module):
        """Move towards `module`'s present weights; integer buffers are copied."""
        n_updates = int(self.n_updates)
        if self.decay is None:
            share = 1 / (n_updates + 1)
        else:
            share = 1 - min(self.decay, (1 + n_updates) / (10 + n_updates))
        self.n_updates += 1
        for ours, theirs in zip(self.average.state_dict().values(), module.state_dict().values(), strict=True):
            if ours.is_floating_point():
                ours.lerp_(theirs.to(ours.dtype), share)
            else:
                ours.copy_(theirs)

    def forward(self, *inputs, **named_inputs):
        """The averaged network's output."""
        return self.average(*inputs, **named_inputs)

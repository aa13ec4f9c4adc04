"""Average of a network's weights and BatchNorm statistics over training, by torch's AveragedModel.

Source: Tarvainen & Valpola, "Mean teachers are better role models", NeurIPS 2017 (exponential; the averaging alone);
Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization", UAI 2018 (equal weights: SWA).
"""

import itertools

import torch
from torch.optim.swa_utils import AveragedModel


class WeightAverage(AveragedModel):
    """Running average of a module, in eval mode; ``update_parameters(module)`` adds its present weights.

    `decay` is that of an exponential average, in [0, 1): (1 + n) / (10 + n) after n updates where that is smaller;
    None: all updates count alike.
    """

    def __init__(self, module, decay):
        super().__init__(module, use_buffers=True)
        self.decay = decay
        self.requires_grad_(False).eval()

    def _apply(self, fn, recurse=True):
        """Keep the count on the CPU: an update would wait for a GPU's otherwise."""
        super()._apply(fn, recurse)
        self.n_averaged = self.n_averaged.cpu()
        return self

    @torch.no_grad()
    def update_parameters(self, module):
        """Add the module's weights and buffers; counters, which are no floats, are copied."""
        n = int(self.n_averaged.numpy())
        weight = 1 / (n + 1) if self.decay is None else 1 - min(self.decay, (1 + n) / (10 + n))
        ours, theirs = (itertools.chain(each.parameters(), each.buffers()) for each in (self.module, module))
        pairs = list(zip(ours, theirs, strict=True))
        floats = [pair for pair in pairs if pair[0].is_floating_point()]
        torch._foreach_lerp_(*map(list, zip(*floats, strict=True)), weight if n else 1.0)
        for average, value in pairs:
            if not average.is_floating_point():
                average.copy_(value)
        self.n_averaged += 1

    def train(self, mode=True):
        """Stay in eval mode."""
        return super().train(False)

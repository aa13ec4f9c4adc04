"""Average of a network's weights and BatchNorm statistics over training, by torch's AveragedModel.

Source: Tarvainen & Valpola, "Mean teachers are better role models", NeurIPS 2017 (exponential; the averaging alone);
Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization", UAI 2018 (equal weights: SWA).
"""

import torch
from torch.optim.swa_utils import AveragedModel


class WeightAverage(AveragedModel):
    """Running average of a module, in eval mode; ``update_parameters(module)`` adds its present weights.

    `decay` is that of an exponential average, in [0, 1): (1 + n) / (10 + n) after n updates where that is smaller;
    None: all updates count alike.
    """

    def __init__(self, module, decay):
        def update(averages, values, n):
            if averages[0].is_floating_point():
                n = int(n)
                weight = 1 / (n + 1) if decay is None else 1 - min(decay, (1 + n) / (10 + n))
                torch._foreach_lerp_(averages, values, weight)
            else:  # a counter of batches
                torch._foreach_copy_(averages, values)

        super().__init__(module, multi_avg_fn=torch.no_grad()(update), use_buffers=True)
        self.requires_grad_(False).eval()

    def train(self, mode=True):
        """Stay in eval mode."""
        return super().train(False)

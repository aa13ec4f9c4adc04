"""Simulated logits of a tagger, given the tags of a caption: evidence for training a captioner without audio.

Logits are drawn from a Gaussian that is read off the tagger's own weights, without any recording: z = W h + b, whose
covariance for features h that vary alike in all directions is W Wᵀ (rows centred), and whose mean is that of features
drawn from the last BatchNorm's mean and spread of every channel. Given that some tags T have logits v, all others
follow by the Gaussian's conditional: a draw z is moved by S_T (S_TT + λ)⁻¹ (v − z_T) (Matheron's rule).
"""

import torch
import torch.nn.functional as F
from torch import nn

from tinyclap.errors import ConfigError

_N_DRAWS = 4000


class TagSimulator(nn.Module):
    """Draws logits of a tagger for captions' tags.

    Arguments
    ---------
    low, high : float. Logits of a present tag are uniform between them.
    spread, noise : float. Standard deviation of a tag's logit over recordings, and the fraction that is always left.
    ridge : float. λ, in units of squared logits.
    miss : float. Probability that an event of a caption is dropped (one of them always stays).
    second : float. Probability that an event raises a second one of its candidate tags.
    loudest : float. Upper bound of the mean logits: much of AudioSet is speech and music, few captions are.
    pooling : float. Standard deviation of a clip's mean features, as a fraction of that of a place in the map.
    """

    def __init__(
        self, low=-3.5, high=1.0, spread=1.5, noise=0.4, ridge=0.2, miss=0.1, second=0.5, loudest=-3.0, pooling=0.45
    ):
        super().__init__()
        if low > high or not 0 <= miss < 1 or not 0 <= second < 1:
            raise ConfigError(f"TagSimulator: low={low} <= high={high}, and miss={miss}, second={second} are in [0, 1)")
        self.low, self.high, self.spread, self.noise, self.ridge = low, high, spread, noise, ridge
        self.miss, self.second, self.loudest, self.pooling = miss, second, loudest, pooling

    def fit(self, encoder):
        """Set mean and covariance of the logits by the weights of a tagger, a MobileNet; returns itself."""
        self.register_buffer("mean", usual_logits(encoder, self.pooling).clamp(max=self.loudest))
        self.register_buffer(
            "covariance", self.spread**2 * tag_affinity(encoder.classifier[-1].weight.detach().float())
        )
        # a hundredth on the diagonal makes it invertible: there may be fewer directions than tags
        self.register_buffer("factor", torch.linalg.cholesky(self.covariance + 0.01 * torch.eye(len(self.mean))))
        return self

    @torch.no_grad()
    def forward(self, tags, probabilities):
        """Draw logits (B, K), given candidate tags (B, E, J), int64, of at most E events, and their `probabilities`.

        These are 0 for all candidates of an event that is absent; every row has one event at least.
        """
        present, given = self._choose(tags, probabilities)
        wanted = torch.empty(present.shape, device=present.device).uniform_(self.low, self.high)
        draw = self.mean + self.noise * torch.randn(len(tags), len(self.mean), device=tags.device) @ self.factor.T
        among = self.covariance[present[:, :, None], present[:, None, :]]
        # a tag that is not given gets a variance that makes its row of the inverse vanish
        diagonal = self.ridge + 1e6 * (~given).float()
        gap = (wanted - draw.gather(1, present)) * given
        weights = torch.linalg.solve(among + torch.diag_embed(diagonal), gap[..., None])[..., 0] * given
        return draw + torch.einsum("bt,btk->bk", weights, self.covariance[present])

    def _choose(self, tags, probabilities):
        """Ids (B, 2E) of the present tags, and whether they count."""
        n_rows, n_events, n_candidates = tags.shape
        there = probabilities.sum(dim=-1) > 0
        kept = there & (torch.rand(there.shape, device=tags.device) >= self.miss)
        kept = torch.where(kept.any(dim=1, keepdim=True), kept, there)
        n_drawn = min(2, n_candidates)
        drawn = torch.multinomial(probabilities.reshape(-1, n_candidates) + 1e-6, n_drawn).view(n_rows, n_events, -1)
        counts = kept[..., None].repeat(1, 1, n_drawn)
        counts[..., 1:] &= torch.rand(n_rows, n_events, n_drawn - 1, device=tags.device) < self.second
        return tags.gather(2, drawn).flatten(1), counts.flatten(1)


def tag_affinity(rows):
    """Correlation (K, K) of the logits W h over features h that vary alike in all directions, given W (K, C)."""
    rows = F.normalize(rows - rows.mean(dim=0), dim=-1)
    return rows @ rows.T


@torch.no_grad()
def usual_logits(encoder, pooling):
    """Mean logit (K,) of every tag over a tagger's training set, from its weights alone.

    A channel of the last feature map, before its h-swish, is normal with the BatchNorm's bias and weight for mean and
    standard deviation. For mn04, the correlation with the means over 3,000 real clips is 0.8.
    """
    norm = [module for module in encoder.modules() if isinstance(module, nn.BatchNorm2d)][-1]
    generator = torch.Generator().manual_seed(0)
    mean, spread = norm.bias.float(), norm.weight.float().abs()
    places = F.hardswish(mean + spread * torch.randn(_N_DRAWS, len(mean), generator=generator))
    clips = torch.randn(_N_DRAWS, len(mean), generator=generator)
    clips = places.mean(dim=0) + pooling * places.std(dim=0) * clips
    return encoder.tag_logits(clips).mean(dim=0)

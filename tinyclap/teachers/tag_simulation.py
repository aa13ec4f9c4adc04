"""What a tagger would say of a sound that nobody recorded: its logits, given some tags that are to be heard.

A tagger never says one tag alone. It hears "Bow-wow", "Dog" and "Animal" with every "Bark", takes a vacuum cleaner for
a hair dryer, and half believes in speech. A decoder that is to read such logits has to learn from such logits; here
they are drawn from a Gaussian that needs no recording, because the network's own weights say what it confuses:

* Logits are z = W h + b. Of features h that vary alike in all directions, the logits' covariance is W Wᵀ: two tags go
  together as far as their rows of W point one way (rows less their mean, which is what all tags share).
* The last BatchNorm remembers mean and spread of every channel over the training set. Features drawn from it, passed
  through the classifier, give each tag's usual logit: so common is it, and so loud is the tagger about it.
* Given that some tags have logits v, all others follow by the Gaussian's conditional: a draw of the whole vector is
  moved by S_T (S_TT + λ)⁻¹ (v − z_T) (Matheron's rule), which keeps what the given tags do not explain as noise.
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
    low, high : float
        Logits of a tag that is heard lie between them, evenly: of 5 s of ESC-50, mn04 gives its likeliest tag 0.5 on
        average, the second 0.34, the tenth 0.03.
    spread : float
        Standard deviation of a tag's logit over recordings.
    noise : float
        Share of it that is left where the heard tags say nothing.
    ridge : float
        λ, in units of squared logits: how far given tags may contradict each other and the rest.
    miss : float
        Probability that an event of a caption is not heard (one of them always is).
    second : float
        Probability that an event raises a second one of its candidate tags.
    loudest : float
        No tag's usual logit is above it: of the many sounds of speech and music in AudioSet, few are in captions.
    pooling : float
        Standard deviation of a clip's mean features, as a share of that of a single place in the feature map.

    Raises
    ------
    ConfigError
        `low` is above `high`, or a probability is not in [0, 1).
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
        """Read mean and covariance of the logits off a tagger's weights.

        Arguments
        ---------
        encoder : tinyclap.models.mobilenet.MobileNet
            With its tagging head. Only its last BatchNorm and its classifier are looked at.

        Returns
        -------
        TagSimulator
            Itself.
        """
        rows = encoder.classifier[-1].weight.detach().float()
        mean = usual_logits(encoder, self.pooling).clamp(max=self.loudest)
        covariance = self.spread**2 * tag_affinity(rows)
        # Fewer directions than tags, or tags that are twins, leave no inverse: a hundredth on the diagonal does.
        factor = torch.linalg.cholesky(covariance + 0.01 * torch.eye(len(rows)))
        for name, value in (("mean", mean), ("covariance", covariance), ("factor", factor)):
            self.register_buffer(name, value)
        return self

    @torch.no_grad()
    def forward(self, tags, shares):
        """Draw logits.

        Arguments
        ---------
        tags : torch.Tensor, shape (B, E, J), int64
            Candidate tags of each of at most E events.
        shares : torch.Tensor, shape (B, E, J)
            Their probabilities; 0 for all candidates of an event that is not there. Every row has one event at least.

        Returns
        -------
        torch.Tensor, shape (B, K)
        """
        heard, given = self._choose(tags, shares)
        wanted = torch.empty(heard.shape, device=heard.device).uniform_(self.low, self.high)
        draw = self.mean + self.noise * torch.randn(len(tags), len(self.mean), device=tags.device) @ self.factor.T
        among = self.covariance[heard[:, :, None], heard[:, None, :]]
        # What is not given gets a variance that makes its row of the inverse vanish.
        diagonal = self.ridge + 1e6 * (~given).float()
        gap = (wanted - draw.gather(1, heard)) * given
        weights = torch.linalg.solve(among + torch.diag_embed(diagonal), gap[..., None])[..., 0] * given
        return draw + torch.einsum("bt,btk->bk", weights, self.covariance[heard])

    def _choose(self, tags, shares):
        """Which tags are heard: (B, 2E) ids, and whether they count."""
        n_rows, n_events, n_candidates = tags.shape
        there = shares.sum(dim=-1) > 0
        kept = there & (torch.rand(there.shape, device=tags.device) >= self.miss)
        kept = torch.where(kept.any(dim=1, keepdim=True), kept, there)
        n_drawn = min(2, n_candidates)
        drawn = torch.multinomial(shares.reshape(-1, n_candidates) + 1e-6, n_drawn).view(n_rows, n_events, n_drawn)
        counts = kept[..., None].repeat(1, 1, n_drawn)
        counts[..., 1:] &= torch.rand(n_rows, n_events, n_drawn - 1, device=tags.device) < self.second
        return tags.gather(2, drawn).flatten(1), counts.flatten(1)


def tag_affinity(rows):
    """How far tags go together: correlation of the logits W h over features h that vary alike in all directions.

    Arguments
    ---------
    rows : torch.Tensor, shape (K, C)
        W, the last layer's weights.

    Returns
    -------
    torch.Tensor, shape (K, K)
        Cosines of the rows less their mean, in [−1, 1].

    Example
    -------
    >>> tag_affinity(torch.tensor([[3.0, 0.0], [1.0, 2.0], [2.0, 1.0]])).round(decimals=1)[0]
    tensor([ 1., -1.,  0.])
    """
    rows = F.normalize(rows - rows.mean(dim=0), dim=-1)
    return rows @ rows.T


@torch.no_grad()
def usual_logits(encoder, pooling):
    """Mean logit of every tag over clips like those that a tagger was trained on, from its weights alone.

    Arguments
    ---------
    encoder : tinyclap.models.mobilenet.MobileNet
    pooling : float
        See :class:`TagSimulator`.

    Returns
    -------
    torch.Tensor, shape (K,)

    Notes
    -----
    A channel of the last feature map, before its h-swish, is normal with the BatchNorm's bias and weight for mean and
    standard deviation: that is what a BatchNorm makes of its training set. For mn04, the correlation with the means
    over 3,000 real clips and mixtures of ESC-50 and UrbanSound8K is 0.8; Speech, Music, Animal and Vehicle lead both.
    """
    norm = [module for module in encoder.modules() if isinstance(module, nn.BatchNorm2d)][-1]
    generator = torch.Generator().manual_seed(0)
    mean, spread = norm.bias.detach().float(), norm.weight.detach().float().abs()
    places = F.hardswish(mean + spread * torch.randn(_N_DRAWS, len(mean), generator=generator))
    clips = torch.randn(_N_DRAWS, len(mean), generator=generator)
    clips = places.mean(dim=0) + pooling * places.std(dim=0) * clips
    return encoder.tag_logits(clips).mean(dim=0)

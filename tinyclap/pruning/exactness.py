"""Difference between a pruned model and the whole one with the same dimensions masked, and whether it is exact."""

import torch
import torch.nn.functional as F

from tinyclap.audio.io import read_audio
from tinyclap.metrics.recordings import find_recordings, sample
from tinyclap.models.pruned_head import PrunedClapProjection

_N_NOISES = 8


def how_exact(model, removed):
    """Whether the removal that made a model is exact, and why: ``exact``, ``how``, and counts of a CLAP head."""
    head = getattr(model, "audio", model).projection
    if not removed:
        return {"exact": True, "how": "nothing was removed; the order is stored"}
    if not isinstance(head, PrunedClapProjection):
        return {"exact": True, "how": "exact: every dimension has rows of its own"}
    sizes = {"n_hidden": head.n_hidden, "n_statistic_rows": head.n_directions, "exact": head.is_exact}
    if not head.n_exact:
        how = "the LayerNorm's bias is zero on what is kept, so its scale cancels in the cosine"
    elif head.n_exact == head.n_dims:
        how = f"all {head.n_dims} rows are computed for the LayerNorm's scale"
    else:
        how = f"the LayerNorm's scale by {head.n_directions} directions of what was dropped, and a constant"
        if head.n_directions * (head.n_dims + head.d_in) >= (head.n_dims - head.d_out) * head.n_dims:
            how += " (--statistic_rows all is exact and needs no more weights)"
    if not head.all_hidden:
        how += f"; {head.n_hidden} of {head.n_dims} hidden units, the means of the others"
    return {**sizes, "how": f"{'exact' if head.is_exact else 'approximated'}: {how}"}


def clips_to_compare_on(model, check_audio=None, n_clips=64, seed=0):
    """Recordings, or noise of eight colours: list of (samples, rate in Hz), and their name in reports.

    Arguments
    ---------
    model : AudioStudent or Clap. Whose rate and window the noise has.
    check_audio : str, optional. See :func:`tinyclap.metrics.recordings.find_recordings`.
    n_clips, seed : int. Maximum of recordings, and seed of their choice.
    """
    if check_audio is not None:
        found, _ = sample(find_recordings(check_audio), n_clips, seed)
        return [read_audio(path) for path in found.paths], found.name
    rate_hz, generator = model.sample_rate_hz, torch.Generator().manual_seed(seed)
    n_samples = round(getattr(model, "audio", model).policy.window_s * rate_hz)
    noises = torch.fft.rfft(torch.randn(_N_NOISES, n_samples, generator=generator))
    tilts = torch.linspace(0, 2, _N_NOISES)[:, None]  # from white to brown
    noises = torch.fft.irfft(noises * torch.arange(1, noises.shape[1] + 1) ** (-tilts / 2), n_samples)
    return [(0.1 * noise / noise.std(), rate_hz) for noise in noises], "noise"


def difference(whole, made, kept, clips, name):
    """Difference of the pruned model's embeddings from the whole one's, masked.

    Returns ``max_abs``, ``cosine_min`` and ``cosine_mean`` over all windows, of L2-normalised embeddings (of
    probabilities as they are), ``n_windows`` and ``clips``.

    Arguments
    ---------
    whole, made : AudioStudent or Clap
    kept : list of int. Dimensions of `whole` that `made` has, in its order.
    clips, name : list of (array, rate in Hz), and str. See :func:`clips_to_compare_on`.
    """
    whole, made = (getattr(model, "audio", model) for model in (whole, made))
    masked, ours = _windows(whole, clips)[:, list(kept)], _windows(made, clips)
    cosines = F.cosine_similarity(ours, masked, dim=-1)
    if whole.output == "none":
        masked, ours = F.normalize(masked, dim=-1), F.normalize(ours, dim=-1)
    return {
        "max_abs": float((ours - masked).abs().max()),
        "cosine_min": float(cosines.min()),
        "cosine_mean": float(cosines.mean()),
        "n_windows": len(ours),
        "clips": name,
    }


def _windows(student, clips):
    """A student's output for every window of some clips, not averaged: (n, D), float64."""
    seen = []

    def note(windows):
        seen.append(student(windows).clip)
        return seen[-1]

    for wav, rate_hz in clips:
        student.embed_windows(note, [torch.as_tensor(wav)], rate_hz)
    return torch.cat(seen).double()

"""Beam search in torch for decoders that predict one word at a time.

Source: the beam search of the published EfficientNet-B2 captioner (Xu et al., "Efficient Audio Captioning with
Encoder-Level Knowledge Distillation", Interspeech 2024), whose rule is :class:`tinyclap.decoding.rule.BeamRule`.
"""

from typing import NamedTuple

import torch

from tinyclap.decoding.rule import BeamRule, Hypotheses
from tinyclap.errors import ConfigError


class WordChoices(NamedTuple):
    """The k most probable words at each position of B captions of at most L words, for token-level distillation."""

    words: torch.Tensor  # (B, L): the captions, filled with the end id
    ids: torch.Tensor  # (B, L, k): best first, given the words before
    log_probs: torch.Tensor  # (B, L, k): natural, among all words
    n_words: torch.Tensor  # (B,): with the end, where there is one


def beam_search(decoder, state, start_id, end_id, beam=3, max_words=20, min_words=0, n_best=1, forbidden_ids=()):
    """Find the captions of a batch of clips by :class:`tinyclap.decoding.rule.BeamRule`.

    Arguments
    ---------
    decoder : With ``step(last_ids (N,), state)`` → (logits (N, V), state) and ``select(state, rows (clips, beams))``.
    state : tuple. One row a clip, before the first word; its first tensor has that many rows. It is overwritten.
    start_id, end_id : int
    beam, max_words, min_words, n_best, forbidden_ids : See :class:`tinyclap.decoding.rule.BeamRule`.
    """
    rule = BeamRule(len(state[0]), end_id, beam, max_words, min_words, n_best, forbidden_ids)
    with torch.inference_mode():  # a tenth quicker than no_grad; what is returned is made outside of it
        _search(decoder, state, start_id, rule)
    return Hypotheses(*(torch.tensor(values, device=state[0].device) for values in rule.found()))


@torch.no_grad()
def word_choices(decoder, memory, n_frames, found, start_id, n_choices):
    """The `n_choices` most probable words at each position of the best captions, teacher-forced.

    Arguments
    ---------
    decoder : tinyclap.models.caption_decoder.CaptionDecoder
    memory, n_frames : torch.Tensor, shapes (B, F', C) and (B,)
    found : Hypotheses. Of these clips.
    start_id : int
    n_choices : int. k, in [1, V].
    """
    words = found.ids[:, 0]
    before = torch.cat([torch.full_like(words[:, :1], start_id), words[:, :-1]], dim=1)
    log_probs = decoder(before, memory, n_frames).float().log_softmax(dim=-1)
    if not 1 <= n_choices <= log_probs.shape[-1]:
        raise ConfigError(f"{n_choices} choices at each word; there are {log_probs.shape[-1]} words")
    best, ids = log_probs.topk(n_choices, dim=-1)
    return WordChoices(words, ids, best, found.n_words[:, 0])


def _search(decoder, state, start_id, rule):
    """Step until every clip has its captions, which `rule` keeps."""
    device, n_clips = state[0].device, len(state[0])
    last_ids = torch.full((n_clips,), start_id, dtype=torch.int64, device=device)
    running = torch.zeros(n_clips, 1, device=device)
    while True:
        logits, state = decoder.step(last_ids, state)
        n_rows, n_vocabulary = logits.shape
        log_probs = torch.log_softmax(logits.float(), dim=-1)
        banned = rule.banned_ids(n_vocabulary)
        if banned:
            log_probs[:, banned] = -torch.inf
        running, best = (running.view(-1, 1) + log_probs).view(n_clips, -1).topk(rule.beam, dim=1)
        # Float64 holds scores and places exactly, so that one copy from the device is enough.
        scores, places = torch.stack([running.double(), best.double()]).tolist()
        step = rule.follow(scores, places, n_vocabulary)
        if step is None:
            return
        if len(step.staying) < n_clips:
            n_clips, running = len(step.staying), running[step.staying]
        if any(map(any, step.penalties)):
            running = running - torch.tensor(step.penalties, device=device)
        last_ids = torch.tensor(step.last_ids, device=device).view(-1)
        if step.rows != [[row] for row in range(n_rows)]:
            state = decoder.select(state, torch.tensor(step.rows, device=device))

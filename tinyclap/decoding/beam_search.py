"""Search for the most probable word sequences of a decoder that goes word by word: greedy and beam search in torch.

Source: the beam search of the published EfficientNet-B2 captioner (Xu et al., "Efficient Audio Captioning with
Encoder-Level Knowledge Distillation", Interspeech 2024), whose rule is :class:`tinyclap.decoding.rule.BeamRule`.
"""

from typing import NamedTuple

import torch

from tinyclap.decoding.rule import BeamRule, Hypotheses
from tinyclap.errors import ConfigError


class WordChoices(NamedTuple):
    """What could have been said at each word of B captions of at most L words: token-level distillation learns it.

    Attributes
    ----------
    said : torch.Tensor, shape (B, L), int64
        The captions' own words, the end among them where there is one; filled with the end id.
    ids : torch.Tensor, shape (B, L, k), int64
        The k most probable words, given the words before, best first.
    log_probs : torch.Tensor, shape (B, L, k), float32
        Theirs, natural and at temperature 1, among all words.
    n_words : torch.Tensor, shape (B,), int64
        Words, the end counted where there is one; what follows them is filling.
    """

    said: torch.Tensor
    ids: torch.Tensor
    log_probs: torch.Tensor
    n_words: torch.Tensor


def beam_search(decoder, state, start_id, end_id, beam=3, max_words=20, min_words=0, n_best=1, forbidden_ids=()):
    """Search with several beams a clip.

    Arguments
    ---------
    decoder
        Has ``step(last_ids (N,), state) -> (logits (N, V), state)`` and ``select(state, rows) -> state``, where `rows`
        (clips, beams), int64, holds rows of the state; the new state has them in that order, flattened.
    state : tuple
        One row a clip, before the first word. The first of its tensors has as many rows as the state, and is on the
        device on which ids are wanted. It is used up.
    start_id, end_id : int
        Words that begin and end a caption.
    beam : int
        Beams k of a clip, at most the number of words; 1 is greedy search.
    max_words : int
        Most words of a caption, its end counted.
    min_words : int
        Fewest words before the end.
    n_best : int
        How many captions of each clip are returned, at most `beam`.
    forbidden_ids : sequence of int
        Words that are never said.

    Returns
    -------
    Hypotheses
        On the state's device.

    Raises
    ------
    ConfigError
        A number is out of its range.

    Notes
    -----
    The rule is that of :class:`tinyclap.decoding.rule.BeamRule`.
    """
    rule = BeamRule(len(state[0]), end_id, beam, max_words, min_words, n_best, forbidden_ids)
    with torch.inference_mode():  # a tenth quicker than no_grad; what is returned is made outside of it
        _search(decoder, state, start_id, rule)
    return Hypotheses(*(torch.tensor(values, device=state[0].device) for values in rule.found()))


def greedy_search(decoder, state, start_id, end_id, **options):
    """Take the most probable word every time.

    Arguments
    ---------
    decoder, state, start_id, end_id, **options
        As for :func:`beam_search`, of which this is the case of one beam.

    Returns
    -------
    Hypotheses
    """
    return beam_search(decoder, state, start_id, end_id, beam=1, **options)


search = beam_search  # one beam is greedy search


@torch.no_grad()
def word_choices(decoder, memory, n_frames, found, start_id, n_choices):
    """Read the best caption of each clip again, and look at each word which others could have stood there.

    Arguments
    ---------
    decoder
        As :class:`tinyclap.models.caption_decoder.CaptionDecoder`: (ids (B, L), memory, n_frames) → logits (B, L, V),
        without dropout.
    memory : torch.Tensor, shape (B, F', C)
    n_frames : torch.Tensor, shape (B,)
    found : Hypotheses
        Of these clips.
    start_id : int
    n_choices : int
        In [1, V].

    Returns
    -------
    WordChoices

    Raises
    ------
    ConfigError
        There are not as many words.
    """
    said = found.ids[:, 0]
    before = torch.cat([torch.full_like(said[:, :1], start_id), said[:, :-1]], dim=1)
    log_probs = decoder(before, memory, n_frames).float().log_softmax(dim=-1)
    if not 1 <= n_choices <= log_probs.shape[-1]:
        raise ConfigError(f"{n_choices} choices at each word; there are {log_probs.shape[-1]} words")
    best, ids = log_probs.topk(n_choices, dim=-1)
    return WordChoices(said, ids, best, found.n_words[:, 0])


def _search(decoder, state, start_id, rule):
    """Go word by word until all clips have their captions, which `rule` keeps."""
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

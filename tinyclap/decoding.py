"""Search for the most probable word sequences of a decoder that goes word by word: greedy and beam search.

Source: the beam search of the published EfficientNet-B2 captioner (Xu et al., "Efficient Audio Captioning with
Encoder-Level Knowledge Distillation", Interspeech 2024), whose rule is written out at :func:`beam_search`.
"""

from typing import NamedTuple

import torch

from tinyclap.errors import ConfigError

_DONE = 1000.0  # what the score of a beam loses when the beam has ended: its continuations are then never the best


class Hypotheses(NamedTuple):
    """What a search finds for B clips, best first.

    Attributes
    ----------
    ids : torch.Tensor, shape (B, n_best, max_words), int64
        Words without the start, filled with the end id after the end.
    scores : torch.Tensor, shape (B, n_best), float32
        Sum of the words' log-probabilities over their number, the end counted as a word.
    n_words : torch.Tensor, shape (B, n_best), int64
        Words, the end counted where there is one.
    """

    ids: torch.Tensor
    scores: torch.Tensor
    n_words: torch.Tensor


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
    The rule of the published captioner. A beam's score is the sum of its words' log-probabilities. At every step the k
    best continuations of a clip's k beams go on. One that ends, or has `max_words` words, is stored with its score
    over its number of words, and its running score falls by 1000. A clip leaves the batch when it has k stored
    captions after a step; where a step takes it past k, it goes on to `max_words`, as the published search does. The
    best stored captions win, the earlier one of two equals. `min_words` and `forbidden_ids` take words away without
    making the others more probable.
    """
    if beam < 1 or max_words < 1:
        raise ConfigError(f"beam={beam} and max_words={max_words} are at least 1")
    if not 1 <= n_best <= beam:
        raise ConfigError(f"n_best={n_best} is not in [1, beam={beam}]")
    if not 0 <= min_words < max_words:
        raise ConfigError(f"min_words={min_words} is not in [0, max_words={max_words})")
    device, n_clips = state[0].device, len(state[0])
    with torch.inference_mode():  # a tenth quicker than no_grad; what is returned is made outside of it
        clips = _search(decoder, state, n_clips, start_id, end_id, beam, max_words, min_words, list(forbidden_ids))
    ids, scores, n_words = [], [], []
    for clip in clips:
        best = sorted(clip.stored, key=lambda stored: -stored[0])[:n_best]
        ids.append([words + [end_id] * (max_words - len(words)) for _, words in best])
        scores.append([score for score, _ in best])
        n_words.append([len(words) for _, words in best])
    return Hypotheses(*(torch.tensor(values, device=device) for values in (ids, scores, n_words)))


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


class _Clip:
    """The beams of one clip and its stored captions."""

    def __init__(self):
        self.sequences, self.stored = [[]], []

    def extend(self, beams, scores, end_id, is_last):
        """Lengthen the beams by ``(source, word)`` each and store those that end; return which."""
        self.sequences = [[*self.sequences[source], word] for source, word in beams]
        ended = [is_last or word == end_id for _, word in beams]
        for words, score, over in zip(self.sequences, scores, ended, strict=True):
            if over:
                self.stored.append((score / len(words), words))
        return ended


def _search(decoder, state, n_clips, start_id, end_id, beam, max_words, min_words, forbidden_ids):
    """Go word by word until all clips have their captions; return the clips."""
    device = state[0].device
    everyone = clips = [_Clip() for _ in range(n_clips)]  # `clips` are those still in the batch
    last_ids = torch.full((n_clips,), start_id, dtype=torch.int64, device=device)
    running = torch.zeros(n_clips, 1, device=device)
    for n_words in range(1, max_words + 1):
        logits, state = decoder.step(last_ids, state)
        n_rows, n_vocabulary = logits.shape
        if n_vocabulary < beam:
            raise ConfigError(f"beam={beam} is more than the {n_vocabulary} words there are")
        log_probs = torch.log_softmax(logits.float(), dim=-1)
        banned = [*forbidden_ids, end_id] if n_words <= min_words else forbidden_ids
        if banned:
            log_probs[:, banned] = -torch.inf
        running, best = (running.view(-1, 1) + log_probs).view(len(clips), -1).topk(beam, dim=1)
        # Float64 holds scores and places exactly, so that one copy from the device is enough.
        scores, places = torch.stack([running.double(), best.double()]).tolist()
        n_before = n_rows // len(clips)
        rows, words, penalties, staying = [], [], [], []
        for position, clip in enumerate(clips):
            beams = [divmod(int(place), n_vocabulary) for place in places[position]]
            ended = clip.extend(beams, scores[position], end_id, n_words == max_words)
            if len(clip.stored) != beam and n_words < max_words:
                staying.append(position)
                rows.append([position * n_before + source for source, _ in beams])
                words.append([word for _, word in beams])
                penalties.append([_DONE * over for over in ended])
        if not staying:
            break
        if len(staying) < len(clips):
            clips, running = [clips[position] for position in staying], running[staying]
        if any(map(any, penalties)):
            running = running - torch.tensor(penalties, device=device)
        last_ids = torch.tensor(words, device=device).view(-1)
        if rows != [[row] for row in range(n_rows)]:
            state = decoder.select(state, torch.tensor(rows, device=device))
    return everyone

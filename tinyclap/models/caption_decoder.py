"""The Transformer decoder of the captioners: words so far and a clip's frames to the next word.

Source: Xu et al., "Efficient Audio Captioning with Encoder-Level Knowledge Distillation", Interspeech 2024; names of
parameters and buffers are those of its released checkpoints.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from tinyclap.config.registry import configurable
from tinyclap.errors import ConfigError

_ROOM = 32  # words for which a new state has room; it grows


class DecoderState(NamedTuple):
    """What has been said and heard: N rows, in groups of N / B for each of B clips.

    Attributes
    ----------
    word_mask : torch.Tensor, shape (N, 1, 1, room)
        0 for words that count, −∞ for padding.
    words : torch.Tensor, shape (2 · n_layers, N, n_heads, room, width / n_heads)
        Keys (even) and values (odd) of the words so far, layer by layer.
    memory : torch.Tensor, shape (2 · n_layers, B, n_heads, F', width / n_heads)
        Keys and values of the clips' frames; the rows of a clip share them.
    memory_mask : torch.Tensor, shape (B, 1, 1, F')
        0 for a clip's frames, −∞ for those after its end.
    n_words : int
        Words so far.
    """

    word_mask: torch.Tensor
    words: torch.Tensor
    memory: torch.Tensor
    memory_mask: torch.Tensor
    n_words: int


@configurable
class CaptionDecoder(nn.Module):
    """Post-norm Transformer decoder with tied embeddings over projected frames.

    Arguments
    ---------
    n_words : int
        Size of the vocabulary V.
    memory_dim : int
        Channels of the encoder's frames.
    width, n_layers, n_heads, ffn_width : int
        Of the Transformer; `n_heads` divides `width`.
    dropout : float
        Probability, in [0, 1), in training: on embeddings, before and after the positions are added, within the
        Transformer's layers, and on projected frames.
    max_positions : int
        Longest caption, the start counted.
    pad_id : int
        Words with this id are not attended to.

    Raises
    ------
    ConfigError
        The heads do not divide the width, or the width is odd.

    Notes
    -----
    Input of the first layer: √width·E[w] + pe. The positions ``pos_encoder.pe`` are a buffer: sinusoids here, what the
    checkpoint holds in published weights. The classifier is the embedding matrix, and no bias. Matrices begin as
    Xavier-uniform, as published.

    Example
    -------
    >>> decoder = CaptionDecoder(n_words=4981, memory_dim=1408).eval()
    >>> sum(p.numel() for p in decoder.parameters())
    3743232
    >>> logits = decoder(torch.ones(2, 7, dtype=torch.long), torch.zeros(2, 31, 1408), torch.tensor([31, 20]))
    >>> logits.shape
    torch.Size([2, 7, 4981])
    """

    def __init__(
        self,
        n_words,
        memory_dim,
        width=256,
        n_layers=2,
        n_heads=4,
        ffn_width=1024,
        dropout=0.2,
        max_positions=100,
        pad_id=0,
    ):
        super().__init__()
        if width % n_heads or width % 2:
            raise ConfigError(f"width={width} has to be even and a multiple of n_heads={n_heads}")
        self.n_words, self.memory_dim, self.width, self.n_heads = n_words, memory_dim, width, n_heads
        self.dropout, self.max_positions, self.pad_id = dropout, max_positions, pad_id
        self.word_embedding = nn.Embedding(n_words, width)
        self.pos_encoder = _Positions(max_positions, width)
        layer = nn.TransformerDecoderLayer(width, n_heads, ffn_width, dropout, batch_first=True)
        self.model = nn.TransformerDecoder(layer, n_layers)
        self.classifier = nn.Linear(width, n_words, bias=False)
        self.attn_proj = nn.Sequential(
            nn.Linear(memory_dim, width), nn.ReLU(), nn.Dropout(dropout), nn.LayerNorm(width)
        )
        self.classifier.weight = self.word_embedding.weight
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(self, ids, memory, n_frames):
        """Predict every next word of given captions.

        Arguments
        ---------
        ids : torch.Tensor, shape (B, L), int64
            Words, the start first; L ≤ `max_positions`.
        memory : torch.Tensor, shape (B, F', memory_dim)
            Frames of the encoder.
        n_frames : torch.Tensor, shape (B,)
            How many of them are the clip's, at least 1.

        Returns
        -------
        torch.Tensor, shape (B, L, V)
            Logits of the word after each.

        Raises
        ------
        ConfigError
            The captions are longer than there are positions.
        """
        n_words = ids.shape[1]
        if n_words > self.max_positions:
            raise ConfigError(f"captions of {n_words} words; the decoder has {self.max_positions} positions")
        embedded = F.dropout(self.word_embedding(ids), self.dropout, self.training) * math.sqrt(self.width)
        embedded = F.dropout(embedded + self.pos_encoder.pe[:n_words, 0], self.dropout, self.training)
        later = torch.ones(n_words, n_words, dtype=torch.bool, device=ids.device).triu(1)
        decoded = self.model(
            embedded,
            self.attn_proj(memory),
            tgt_mask=later,
            tgt_key_padding_mask=ids == self.pad_id,
            memory_key_padding_mask=_after_end(memory, n_frames),
        )
        return self.classifier(decoded)

    @torch.no_grad()
    def begin(self, memory, n_frames):
        """Look at the clips once, before the first word.

        Arguments
        ---------
        memory : torch.Tensor, shape (B, F', memory_dim)
        n_frames : torch.Tensor, shape (B,)
            At least 1 each.

        Returns
        -------
        DecoderState
            One row a clip.
        """
        projected, n_clips = self.attn_proj(memory), len(memory)
        keys_values = []
        for layer in self.model.layers:
            attention = layer.multihead_attn
            weight, bias = attention.in_proj_weight[self.width :], attention.in_proj_bias[self.width :]
            keys_values.append(F.linear(projected, weight, bias).view(n_clips, -1, 2, self.n_heads, self._head_width))
        heard = torch.cat(keys_values, dim=2).permute(2, 0, 3, 1, 4).contiguous()
        mask = torch.zeros(memory.shape[:2], dtype=heard.dtype, device=heard.device)
        mask.masked_fill_(_after_end(memory, n_frames), -torch.inf)
        room = min(_ROOM, self.max_positions)
        words = heard.new_zeros(len(heard), n_clips, self.n_heads, room, self._head_width)
        return DecoderState(heard.new_zeros(n_clips, 1, 1, room), words, heard, mask[:, None, None], 0)

    @torch.no_grad()
    def step(self, last_ids, state):
        """Predict one word.

        Arguments
        ---------
        last_ids : torch.Tensor, shape (N,), int64
            The last word of each row; the start at first.
        state : DecoderState
            It is used up: its tensors are written to.

        Returns
        -------
        (torch.Tensor of shape (N, V), DecoderState)
            Logits of the next word: what :meth:`forward` gives at the last position, without dropout.

        Raises
        ------
        ConfigError
            All positions are taken.
        """
        n_rows, n_clips, position = len(last_ids), state.memory.shape[1], state.n_words
        if position == state.words.shape[3]:
            state = self._with_more_room(state)
        state.word_mask[:, 0, 0, position].masked_fill_(last_ids == self.pad_id, -torch.inf)
        word_mask = state.word_mask[..., : position + 1]
        heads = (self.n_heads, self._head_width)
        hidden = self.word_embedding(last_ids) * math.sqrt(self.width) + self.pos_encoder.pe[position]
        for index, layer in enumerate(self.model.layers):
            said, heard = state.words[2 * index : 2 * index + 2], state.memory[2 * index : 2 * index + 2]
            attention = layer.self_attn
            projected = F.linear(hidden, attention.in_proj_weight, attention.in_proj_bias).view(n_rows, 3, *heads)
            said[:, :, :, position] = projected[:, 1:].transpose(0, 1)
            keys, values = said[..., : position + 1, :]
            looked = F.scaled_dot_product_attention(projected[:, 0, :, None], keys, values, word_mask)
            hidden = layer.norm1(hidden + attention.out_proj(looked.reshape(n_rows, self.width)))
            attention = layer.multihead_attn
            query = F.linear(hidden, attention.in_proj_weight[: self.width], attention.in_proj_bias[: self.width])
            query = query.view(n_clips, -1, *heads).transpose(1, 2)
            looked = F.scaled_dot_product_attention(query, heard[0], heard[1], state.memory_mask).transpose(1, 2)
            hidden = layer.norm2(hidden + attention.out_proj(looked.reshape(n_rows, self.width)))
            hidden = layer.norm3(hidden + layer.linear2(F.relu(layer.linear1(hidden))))
        return self.classifier(hidden), state._replace(n_words=position + 1)

    @torch.no_grad()
    def select(self, state, rows):
        """Take rows of a state, any number of times and in any order.

        Arguments
        ---------
        state : DecoderState
        rows : torch.Tensor, shape (B', k) or (N',), int64
            Rows of `state`. Those that stand in one row of a (B', k) are of one clip, whose frames they share; in a
            (N',), every one has its own copy.

        Returns
        -------
        DecoderState
            Of B'·k or N' rows; `state` remains as it is.
        """
        rows = rows if rows.ndim == 2 else rows[:, None]
        n_clips = state.memory.shape[1]
        clips, rows = rows[:, 0] // (len(state.word_mask) // n_clips), rows.reshape(-1)
        return DecoderState(
            state.word_mask[rows],
            state.words.index_select(1, rows),
            state.memory.index_select(1, clips),
            state.memory_mask[clips],
            state.n_words,
        )

    @property
    def _head_width(self):
        return self.width // self.n_heads

    def _with_more_room(self, state):
        room = state.words.shape[3]
        if room == self.max_positions:
            raise ConfigError(f"the caption has come to its {room} positions; ask for fewer words")
        more = min(room, self.max_positions - room)
        return state._replace(words=F.pad(state.words, (0, 0, 0, more)), word_mask=F.pad(state.word_mask, (0, more)))


class _Positions(nn.Module):
    """Sinusoids ``pe`` (max_positions, 1, width), kept with the weights."""

    def __init__(self, max_positions, width):
        super().__init__()
        rates = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
        angles = torch.arange(max_positions)[:, None] * rates
        self.register_buffer("pe", torch.stack([angles.sin(), angles.cos()], dim=2).view(max_positions, 1, width))


def _after_end(memory, n_frames):
    """Which frames (B, F') of the memory come after the end of their clip."""
    return torch.arange(memory.shape[1], device=memory.device) >= n_frames.to(memory.device)[:, None]

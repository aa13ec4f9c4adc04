"""Transformer decoder of the captioners: previous words and encoder frames → logits of the next word.

Source: Xu et al., "Efficient Audio Captioning with Encoder-Level Knowledge Distillation", Interspeech 2024; parameters
are named as in its released checkpoints.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from tinyclap.config.registry import configurable
from tinyclap.errors import ConfigError

_CAPACITY = 32  # words for which a new state has space; it grows


class DecoderState(NamedTuple):
    """Key–value cache of N rows (N / B beams for each of B clips): keys (even) and values (odd), layer by layer."""

    word_mask: torch.Tensor  # (N, 1, 1, capacity): 0 for words, −∞ for padding
    past: torch.Tensor  # (2 · n_layers, N, n_heads, capacity, width / n_heads), of self-attention
    memory: torch.Tensor  # (2 · n_layers, B, n_heads, F', width / n_heads), of cross-attention: a clip's beams share it
    memory_mask: torch.Tensor  # (B, 1, 1, F'): 0 for a clip's frames, −∞ after its end
    n_words: int


@configurable
class CaptionDecoder(nn.Module):
    """Post-norm Transformer decoder with tied embeddings over projected frames.

    Arguments
    ---------
    n_words, memory_dim : int. Size V of the vocabulary, and channels of the encoder's frames.
    width, n_layers, n_heads, ffn_width : int. `n_heads` divides `width`, which is even.
    dropout : float
    max_positions : int. Maximum length of a caption, with its start.
    pad_id : int. Words with this id are not attended to.

    Notes
    -----
    Input of the first layer: √width·E[w] + pe. The classifier is the embedding matrix, without bias.

    Example
    -------
    >>> decoder = CaptionDecoder(n_words=4981, memory_dim=1408).eval()
    >>> decoder(torch.ones(2, 7, dtype=torch.long), torch.zeros(2, 31, 1408), torch.tensor([31, 20])).shape
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
        mapped = nn.Linear(memory_dim, width)
        self.attn_proj = nn.Sequential(mapped, nn.ReLU(), nn.Dropout(dropout), nn.LayerNorm(width))
        self.classifier.weight = self.word_embedding.weight
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(self, ids, memory, n_frames):
        """Words (B, L), the start first, frames (B, F', memory_dim) and valid frames (B,) ≥ 1 → logits (B, L, V)."""
        n_words = ids.shape[1]
        if n_words > self.max_positions:
            raise ConfigError(f"captions of {n_words} words; the decoder has {self.max_positions} positions")
        embedded = F.dropout(self.word_embedding(ids), self.dropout, self.training) * math.sqrt(self.width)
        embedded = F.dropout(embedded + self.pos_encoder.pe[:n_words, 0], self.dropout, self.training)
        later = torch.ones(n_words, n_words, dtype=torch.bool, device=ids.device).triu(1)
        padding = {"tgt_key_padding_mask": ids == self.pad_id, "memory_key_padding_mask": _after_end(memory, n_frames)}
        # told that the mask is causal, PyTorch does not look into it, for which a GPU's queue would have to run empty
        options = {"tgt_mask": later, "tgt_is_causal": True, **padding}
        return self.classifier(self.model(embedded, self.attn_proj(memory), **options))

    @torch.no_grad()
    def begin(self, memory, n_frames):
        """Frames (B, F', memory_dim) and valid frames (B,) ≥ 1 → :class:`DecoderState` of one row a clip."""
        projected, n_clips = self.attn_proj(memory), len(memory)
        keys_values = []
        for layer in self.model.layers:
            attention = layer.multihead_attn
            weight, bias = attention.in_proj_weight[self.width :], attention.in_proj_bias[self.width :]
            keys_values.append(F.linear(projected, weight, bias).view(n_clips, -1, 2, self.n_heads, self._head_width))
        cross = torch.cat(keys_values, dim=2).permute(2, 0, 3, 1, 4).contiguous()
        mask = torch.zeros(memory.shape[:2], dtype=cross.dtype, device=cross.device)
        mask.masked_fill_(_after_end(memory, n_frames), -torch.inf)
        capacity = min(_CAPACITY, self.max_positions)
        past = cross.new_zeros(len(cross), n_clips, self.n_heads, capacity, self._head_width)
        return DecoderState(cross.new_zeros(n_clips, 1, 1, capacity), past, cross, mask[:, None, None], 0)

    @torch.no_grad()
    def step(self, last_ids, state):
        """Last words (N,) and a state, which is overwritten → logits (N, V) of the next words and the new state."""
        n_rows, n_clips, position = len(last_ids), state.memory.shape[1], state.n_words
        if position == state.past.shape[3]:
            state = self._grown(state)
        state.word_mask[:, 0, 0, position].masked_fill_(last_ids == self.pad_id, -torch.inf)
        word_mask = state.word_mask[..., : position + 1]
        heads = (self.n_heads, self._head_width)
        hidden = self.word_embedding(last_ids) * math.sqrt(self.width) + self.pos_encoder.pe[position]
        for index, layer in enumerate(self.model.layers):
            past, cross = state.past[2 * index : 2 * index + 2], state.memory[2 * index : 2 * index + 2]
            attention = layer.self_attn
            projected = F.linear(hidden, attention.in_proj_weight, attention.in_proj_bias).view(n_rows, 3, *heads)
            past[:, :, :, position] = projected[:, 1:].transpose(0, 1)
            keys, values = past[..., : position + 1, :]
            context = F.scaled_dot_product_attention(projected[:, 0, :, None], keys, values, word_mask)
            hidden = layer.norm1(hidden + attention.out_proj(context.reshape(n_rows, self.width)))
            attention = layer.multihead_attn
            query = F.linear(hidden, attention.in_proj_weight[: self.width], attention.in_proj_bias[: self.width])
            query = query.view(n_clips, -1, *heads).transpose(1, 2)
            context = F.scaled_dot_product_attention(query, cross[0], cross[1], state.memory_mask).transpose(1, 2)
            hidden = layer.norm2(hidden + attention.out_proj(context.reshape(n_rows, self.width)))
            hidden = layer.norm3(hidden + layer.linear2(F.relu(layer.linear1(hidden))))
        return self.classifier(hidden), state._replace(n_words=position + 1)

    @torch.no_grad()
    def select(self, state, rows):
        """Copy rows of a state, in the order of `rows`: (B', k), beams of B' clips that share frames, or (N',)."""
        rows = rows if rows.ndim == 2 else rows[:, None]
        n_clips = state.memory.shape[1]
        clips, rows = rows[:, 0] // (len(state.word_mask) // n_clips), rows.reshape(-1)
        past, memory = state.past.index_select(1, rows), state.memory.index_select(1, clips)
        return DecoderState(state.word_mask[rows], past, memory, state.memory_mask[clips], state.n_words)

    @property
    def _head_width(self):
        return self.width // self.n_heads

    def _grown(self, state):
        capacity = state.past.shape[3]
        if capacity == self.max_positions:
            raise ConfigError(f"the caption has come to its {capacity} positions; ask for fewer words")
        more = min(capacity, self.max_positions - capacity)
        return state._replace(past=F.pad(state.past, (0, 0, 0, more)), word_mask=F.pad(state.word_mask, (0, more)))


class _Positions(nn.Module):
    """Sinusoids ``pe`` (max_positions, 1, width), kept with the weights."""

    def __init__(self, max_positions, width):
        super().__init__()
        rates = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
        angles = torch.arange(max_positions)[:, None] * rates
        self.register_buffer("pe", torch.stack([angles.sin(), angles.cos()], dim=2).view(max_positions, 1, width))


def _after_end(memory, n_frames):
    """Mask (B, F') of the frames after the end of their clip."""
    return torch.arange(memory.shape[1], device=memory.device) >= n_frames.to(memory.device)[:, None]

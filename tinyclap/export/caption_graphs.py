"""A captioner as three modules for export: waveform to encoder frames, frames to cross-attention, one decoding step.

The first two run once a caption, the third once a word; so all that does not depend on words is in the second: keys and
values of the frames, with the projections before and after them multiplied in.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from tinyclap.export.log_mel import ExportLogMel


class FramesGraph(nn.Module):
    """Waveforms (B, T) of one length to the frames (B, F', C) of an `encoder`, best folded, behind its `features`."""

    def __init__(self, features, encoder):
        super().__init__()
        self.features, self.encoder = ExportLogMel(features), encoder

    def forward(self, wavs):
        """Compute the frames."""
        return self.encoder(self.features(wavs)).frames


class MemoryGraph(nn.Module):
    """Frames to the keys and values of the cross-attention of a CaptionDecoder (`decoder`), layer by layer.

    Notes
    -----
    With Q = x·W_q + b_q, K = m·W_k + b_k, V = m·W_v + b_v and heads h, attention and its output projection are

        Σ_h softmax(Q_h·K_hᵀ / √d)·V_h·W_o,h + b_o = Σ_h softmax(x·A_h + c_h)·U_h,

    A_h = W_q,h·K_hᵀ / √d, c_h = b_q,h·K_hᵀ / √d, U_h = V_h·W_o,h + b_o / n_heads, since probabilities add up to 1. A, c
    and U are made once a clip; a step then reads them instead of two matrices of width². What is added to the scores of
    frames after a clip's end is −∞.
    """

    def __init__(self, decoder):
        super().__init__()
        self.projection, self.width, self.n_heads = decoder.attn_proj, decoder.width, decoder.n_heads
        self.attentions = nn.ModuleList(layer.multihead_attn for layer in decoder.model.layers)

    def forward(self, frames, n_frames):
        """Map frames (B, F', C), of which n_frames (B,) are valid, to their mean (B, C) and each layer's memory.

        That is A (B, width, n_heads · F'), U (B, n_heads · F', width) and c (B, 1, n_heads · F').
        """
        after_end = torch.arange(frames.shape[1]) >= n_frames[:, None]
        clip = frames.masked_fill(after_end[..., None], 0.0).sum(dim=1) / n_frames[:, None]
        hidden = self.projection(frames)
        parts = [part for attention in self.attentions for part in self._parts(attention, hidden, after_end)]
        return clip, *parts

    def _parts(self, attention, hidden, after_end):
        n_clips, n_frames, width = hidden.shape
        heads = (self.n_heads, width // self.n_heads)
        weights, biases = attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3)
        keys = F.linear(hidden, weights[1], biases[1]).view(n_clips, n_frames, *heads).permute(0, 2, 3, 1)
        values = F.linear(hidden, weights[2], biases[2]).view(n_clips, n_frames, *heads).transpose(1, 2)
        scale = heads[1] ** -0.5
        cross_keys = (weights[0] * scale).view(*heads, width).transpose(1, 2) @ keys  # (B, heads, width, F')
        bias = (biases[0] * scale).view(heads[0], 1, heads[1]) @ keys  # (B, heads, 1, F')
        bias = bias.masked_fill(after_end[:, None, None], -torch.inf)
        cross_values = values @ attention.out_proj.weight.t().reshape(*heads, width)  # (B, heads, F', width)
        cross_values = cross_values + attention.out_proj.bias / heads[0]
        return (
            cross_keys.transpose(1, 2).reshape(n_clips, width, -1),
            cross_values.reshape(n_clips, -1, width),
            bias.transpose(1, 2).reshape(n_clips, 1, -1),
        )


class StepGraph(nn.Module):
    """One decoding step of a CaptionDecoder (`decoder`): the next word of every beam, and the best continuations.

    Equal to its ``select`` and ``step``, with the logarithm of the softmax and the search for the best in the graph, so
    that k numbers leave it instead of k·V.
    """

    def __init__(self, decoder):
        super().__init__()
        self.decoder, self.width, self.n_heads = decoder, decoder.width, decoder.n_heads
        scale = (self.width // self.n_heads) ** -0.5
        for index, layer in enumerate(decoder.model.layers):
            for name in ("in_proj_weight", "in_proj_bias"):
                projection = getattr(layer.self_attn, name).detach().clone()
                projection[: self.width] *= scale
                self.register_buffer(f"{name}_{index}", projection)

    def forward(self, *inputs):
        """Decode one word.

        Arguments
        ---------
        last_ids : torch.Tensor, shape (B, k), int64. The last word of each beam; at first k is 1.
        rows : torch.Tensor, shape (B · k,), int64. Which row of `past` each beam continues.
        running : torch.Tensor, shape (B, k). Scores of the beams.
        banned : torch.Tensor, shape (V,). Is added to every word's score: −∞ for forbidden words.
        word_mask : torch.Tensor, shape (B · k, 1, 1, L + 1). Is added to the words' attention scores: −∞ for padding.
        ranks : torch.Tensor, shape (beam,), int64. Its length is the number of continuations.
        past : 2 · n_layers tensors (N, n_heads, L, width / n_heads). Keys and values of the L words so far.
        memory : 3 · n_layers tensors. Outputs of :class:`MemoryGraph` but the first.

        Returns
        -------
        torch.Tensor, shape (B, beam). Scores of the best continuations, best first.
        torch.Tensor, shape (B, beam), int64. The beam of each, times V, plus the word.
        torch.Tensor, 2 · n_layers of them, shape (B · k, n_heads, L + 1, width / n_heads). The next step's `past`.
        """
        last_ids, rows, running, banned, word_mask, ranks, *state = inputs
        layers = self.decoder.model.layers
        past, memory = state[: 2 * len(layers)], state[2 * len(layers) :]
        n_clips, n_beams = last_ids.shape
        hidden = self.decoder.word_embedding(last_ids.reshape(-1)) * math.sqrt(self.width)
        hidden = hidden + self.decoder.pos_encoder.pe[past[0].shape[2], 0]
        new_past = []
        for index, layer in enumerate(layers):
            attended, *cache = self._self_attention(index, hidden, rows, past[2 * index : 2 * index + 2], word_mask)
            new_past += cache
            hidden = layer.norm1(hidden + layer.self_attn.out_proj(attended))
            keys, values, bias = memory[3 * index : 3 * index + 3]
            weights = hidden.reshape(n_clips, n_beams, self.width) @ keys + bias
            weights = weights.reshape(n_clips, n_beams, self.n_heads, -1).softmax(dim=-1)
            crossed = weights.reshape(n_clips, n_beams, -1) @ values
            hidden = layer.norm2(hidden + crossed.reshape(-1, self.width))
            hidden = layer.norm3(hidden + layer.linear2(F.relu(layer.linear1(hidden))))
        log_probs = torch.log_softmax(self.decoder.classifier(hidden), dim=-1)
        scores = (log_probs + running.reshape(-1, 1) + banned).reshape(n_clips, -1)
        return *scores.topk(ranks.shape[0], dim=1), *new_past

    def _self_attention(self, index, hidden, rows, past, word_mask):
        """Attend to the words so far: the result (N, width), and the keys and values with this word's."""
        weight, bias = getattr(self, f"in_proj_weight_{index}"), getattr(self, f"in_proj_bias_{index}")
        projected = F.linear(hidden, weight, bias).reshape(-1, 3 * self.n_heads, self.width // self.n_heads)
        query, key, value = projected.split(self.n_heads, dim=1)
        keys = torch.cat([past[0].index_select(0, rows), key[:, :, None]], dim=2)
        values = torch.cat([past[1].index_select(0, rows), value[:, :, None]], dim=2)
        weights = (query[:, :, None] @ keys.transpose(2, 3) + word_mask).softmax(dim=-1)
        return (weights @ values).reshape(-1, self.width), keys, values

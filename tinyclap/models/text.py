"""Text towers: BERT with CLAP's head, as published, and a small Transformer over words.

Source: Devlin et al., "BERT", NAACL 2019, by ``transformers``; Elizalde et al., "CLAP", ICASSP 2023.
"""

import torch
from torch import nn

from tinyclap.config.registry import configurable
from tinyclap.errors import ConfigError
from tinyclap.models.projection import ClapProjection
from tinyclap.text.word_ids import WordIds


@configurable
class BertTextTower(nn.Module):
    """``transformers.BertModel``'s [CLS] through CLAP's head; built from its sizes, without a download.

    Arguments
    ---------
    embed_dim : int. D.
    vocab_size, width, n_layers, n_heads, d_feedforward, max_positions : int. Those of bert-base by default.
    dropout : float. Of the head.
    """

    def __init__(
        self,
        embed_dim=1024,
        vocab_size=30522,
        width=768,
        n_layers=12,
        n_heads=12,
        d_feedforward=3072,
        max_positions=512,
        dropout=0.5,
    ):
        super().__init__()
        from transformers import BertConfig, BertModel

        layers = {"num_hidden_layers": n_layers, "num_attention_heads": n_heads, "intermediate_size": d_feedforward}
        sizes = {"vocab_size": vocab_size, "hidden_size": width, "max_position_embeddings": max_positions}
        self.base = BertModel(BertConfig(**sizes, **layers))
        self.projection = ClapProjection(width, embed_dim, dropout)
        self.embed_dim = embed_dim

    def forward(self, input_ids, attention_mask):
        """Token ids (N, L) and attention mask (N, L) → (N, D), not normalised."""
        hidden = self.base(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return self.projection(hidden[:, 0])


@configurable
class WordTextTower(nn.Module):
    """Small Transformer over whole words, mean-pooled: the text tower of a CLAP trained from scratch.

    Arguments
    ---------
    vocabulary : list of str or None. Known words; None: words are hashed into `n_buckets` (CRC-32).
    embed_dim, width : int. D, and width of the word vectors.
    n_layers, n_heads : int. 0 layers average the word vectors alone; heads divide `width`.
    max_words : int. Longer texts are cut off.
    dropout : float
    n_buckets : int. Of 500 words 6 % share one of 4096 with another.

    Example
    -------
    >>> tower = WordTextTower(["a", "dog", "barks"], embed_dim=16, width=32).eval()
    >>> ids, mask = tower.encode(["A dog barks", "thunder"])
    >>> ids.tolist(), tower(ids, mask).shape
    ([[2, 3, 4], [1, 0, 0]], torch.Size([2, 16]))
    """

    def __init__(
        self, vocabulary, embed_dim, width=256, n_layers=2, n_heads=4, max_words=32, dropout=0.1, n_buckets=4096
    ):
        super().__init__()
        if vocabulary is not None and (not vocabulary or len(set(vocabulary)) != len(vocabulary)):
            raise ConfigError(f"the vocabulary is empty or has a word twice ({len(vocabulary)} words)")
        if width % n_heads:
            raise ConfigError(f"{n_heads} heads do not divide the width {width}")
        self.embed_dim, self.max_words = embed_dim, max_words
        self.word_ids = WordIds(vocabulary, max_words, n_buckets)
        self.words = nn.Embedding(self.word_ids.n_ids, width, padding_idx=WordIds.pad_id)
        self.positions = nn.Embedding(max_words, width)
        nn.init.normal_(self.words.weight, std=0.02)
        nn.init.normal_(self.positions.weight, std=0.02)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, n_heads, 4 * width, dropout, "gelu", batch_first=True, norm_first=True)
            for _ in range(n_layers)
        )
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.projection = nn.Linear(width, embed_dim)

    def encode(self, texts):
        """N strings → word ids and mask, both (N, L) int64; unknown words, and empty texts, are ``<unk>``."""
        rows = self.word_ids(texts)
        length = max(map(len, rows), default=1)
        ids = torch.tensor([row + [0] * (length - len(row)) for row in rows], dtype=torch.int64).reshape(-1, length)
        return ids, (ids != 0).long()

    def forward(self, input_ids, attention_mask):
        """Word ids (N, L) and mask (N, L) → (N, D), not normalised."""
        positions = torch.arange(input_ids.shape[1], device=input_ids.device)
        hidden = self.dropout(self.words(input_ids) + self.positions(positions))
        for layer in self.layers:
            hidden = layer(hidden, src_key_padding_mask=attention_mask == 0)
        weights = attention_mask.unsqueeze(-1).to(hidden.dtype)
        mean = (self.norm(hidden) * weights).sum(1) / weights.sum(1)
        return self.projection(mean)

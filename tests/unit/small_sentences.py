"""A sentence encoder of a few thousand parameters, as a folder that `transformers` opens."""

import json
import string
from pathlib import Path

import torch

WORDS = ("dog", "rain", "siren", "the", "sound", "of", "tag", "bark", "##ing")


def small_sentence_encoder(folder):
    """Write the encoder into `folder`, and return it as a str."""
    from transformers import BertConfig, BertModel

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    signs = string.ascii_lowercase + string.digits
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *signs, *"-,'!.", *(f"##{sign}" for sign in signs), *WORDS]
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in pieces), encoding="utf-8")
    about = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 64}
    (folder / "tokenizer_config.json").write_text(json.dumps(about), encoding="utf-8")
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 96}
    BertModel(BertConfig(vocab_size=len(pieces), max_position_embeddings=64, **sizes)).save_pretrained(folder)
    return str(folder)

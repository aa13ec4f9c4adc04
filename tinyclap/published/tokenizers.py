"""Tokenizers of BERT and BART, from a local folder or by their name on the hub."""

from typing import Any

from tinyclap.config.network import hub_options
from tinyclap.errors import CheckpointError

BERT, BART = "bert-base-uncased", "facebook/bart-base"
_FILES = {BERT: "vocab.txt", BART: "vocab.json, merges.txt"}


def hub_tokenizer(source: str, published: str) -> Any:
    """The tokenizer :data:`BERT` or :data:`BART` (`published`) from `source`, a folder or a name on the hub."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(str(source), **hub_options())
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"no tokenizer from {str(source)!r}; give tokenizer= the folder of {published}'s tokenizer files "
            f"({_FILES[published]}), or its name where the hub can be reached ({str(error).splitlines()[0]})"
        ) from error

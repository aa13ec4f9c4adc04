"""Tokenizers that `transformers` reads: from a local folder, or by their name on the hub."""

from tinyclap.config.network import hub_options
from tinyclap.errors import CheckpointError


def find_tokenizer(source, name, files):
    """Find a published tokenizer.

    Arguments
    ---------
    source : str or os.PathLike
        A folder with its files, or its name on the hub.
    name, files : str
        What it is called and which files it has, for the message.

    Returns
    -------
    transformers.PreTrainedTokenizerBase

    Raises
    ------
    CheckpointError
        It is neither there nor to be had from the hub; the message says what to give.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(str(source), **hub_options())
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"no tokenizer from {str(source)!r}; give tokenizer= the folder of {name}'s tokenizer files ({files}), or "
            f"its name where the hub can be reached ({str(error).splitlines()[0]})"
        ) from error


def bert_tokenizer(source):
    """The tokenizer of BERT, from a folder or the hub; see :func:`find_tokenizer`."""
    return find_tokenizer(source, "bert-base-uncased", "vocab.txt")


def bart_tokenizer(source):
    """The tokenizer of BART, from a folder or the hub; see :func:`find_tokenizer`."""
    return find_tokenizer(source, "facebook/bart-base", "vocab.json, merges.txt")

"""From labels to the embeddings that audio is compared with: compiled ones, or the model's text side."""

import warnings
from typing import Any

import numpy as np

from tinyclap.errors import ConfigError
from tinyclap.text.labels import checked_texts, repeated_in, shown
from tinyclap.text.prompts import make_prompts, readable
from tinyclap.text.scores import l2_normalise

_SAME = 1 - 2e-6  # cosine of two embeddings of the same token ids, computed in different batches


def label_embeddings(model, labels=None, template=None):
    """Labels and their embeddings (N, D) in all dimensions of a :class:`SoundModel`; see `SoundModel.label_vectors`.

    ConfigError: no labels, one that is missing, repeated, unknown to the text tower or the same to it as another; a
    bank of another model; or labels that are not compiled and no text side.
    """
    _require_space(model)
    if hasattr(labels, "vectors"):
        labels.require_fits(model)
        return list(labels.labels), labels.vectors
    compiled = {name: index for index, name in enumerate(model.labels)}
    if labels is None and not compiled:
        raise ConfigError(f"{model.name} has no labels of its own; give labels=['dog', 'rain', …] or a bank")
    names = list(model.labels) if labels is None else checked_texts(labels)
    if repeated := repeated_in(names):
        raise ConfigError(f"labels: give each once; repeated: {shown(repeated)}")
    if template is None and all(name in compiled for name in names):
        return names, model.backend.label_rows[[compiled[name] for name in names]]
    vectors = _embedded(model, names, template)
    require_distinct(names, vectors)
    return names, vectors


def text_embeddings(model: Any, texts: Any, template: Any = "{}") -> Any:
    """Embeddings of sentences, repeated ones too: (N, D), float32; arguments as for :func:`label_embeddings`."""
    _require_space(model)
    return _embedded(model, checked_texts(texts, "texts"), template)


def _require_space(model):
    if model.kind == "captioner":
        raise ConfigError(f"{model.name} is a captioner: it has no space with labels; open an encoder")


def _embedded(model, names, template):
    text = model.backend.text
    if text is None:
        new = [name for name in names if name not in model.labels]
        raise ConfigError(
            f"{model.name} has no text side, so it cannot take {shown(new) if new else 'a template'}; its own labels: "
            f"{shown(model.labels) or 'none'}; or export the model again with its text side"
        )
    templates = text.default_templates if template is None else checked_texts(template, "templates")
    prompts = make_prompts(names, templates)
    if getattr(text, "tokenizer", None) is not None:
        _require_known(text.tokenizer, names, prompts)
    return np.asarray(text.embed_classes(prompts), np.float32)


def _require_known(tokenizer, names, prompts):
    """Refuse texts of which the tokenizer knows nothing; warn of those that it knows in part or cuts."""
    unknown, partly, letters, cut = [], [], [], []
    for name, of_name in zip(names, prompts, strict=True):
        ids = tokenizer.ids(readable(name))
        n_unknown = ids.count(tokenizer.unknown_id)
        if n_unknown == len(ids):
            unknown.append(name)
        elif n_unknown:
            partly.append(name)
        elif not any(c.isalnum() and c < "\u0250" for c in name) and len(ids) > sum(map(str.isalnum, name)) / 2:
            letters.append(name)
        if max(len(tokenizer.ids(prompt)) for prompt in of_name) > tokenizer.max_ids:
            cut.append(name)
    if unknown:
        raise ConfigError(f"the text tower knows nothing of {shown(unknown)}; say it in words that it was trained on")
    for found, what in (
        (partly, "the text tower does not know all of"),
        (letters, "the text tower knows single characters only, no words, of"),
        (cut, f"longer than the text tower's {tokenizer.max_ids} tokens, and cut:"),
    ):
        if found:
            warnings.warn(f"{what} {shown(found)}", stacklevel=2)


def require_distinct(names, vectors):
    """Refuse labels whose embeddings are the same: their probabilities would be halved."""
    rows = l2_normalise(vectors)
    for start in range(0, len(rows), 256):
        first, second = np.nonzero(np.triu(rows[start : start + 256] @ rows[start:].T > _SAME, 1))
        if len(first):
            pair = [names[start + first[0]], names[start + second[0]]]
            raise ConfigError(f"labels: {shown(pair)} are the same to the text tower; leave one out")

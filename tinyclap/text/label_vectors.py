"""From label names to the vectors that sounds are compared with: compiled ones first, else the text side."""

import numpy as np

from tinyclap.errors import ConfigError
from tinyclap.text.prompts import make_prompts


def label_vectors(model, labels=None, template=None):
    """Vectors of labels in the whole space of a model; see :meth:`SoundModel.label_vectors`.

    Arguments
    ---------
    model : tinyclap.inference.sound_model.SoundModel
    labels : list of str, tinyclap.text.bank.LabelBank or None
    template : str, list of str or None

    Returns
    -------
    list of str, N of them
    numpy.ndarray, shape (N, D), float32

    Raises
    ------
    ConfigError
        No labels; a bank of another model; or names that are not compiled, and no text side.
    """
    backend = model.backend
    if model.kind == "captioner":
        raise ConfigError(f"{model.name} is a captioner: it has no space with labels; open a model that names sounds")
    if hasattr(labels, "vectors"):
        labels.require_fits(model)
        return list(labels.labels), labels.vectors
    compiled = dict(zip(model.labels, range(len(model.labels)), strict=True))
    if labels is None:
        if not compiled:
            raise ConfigError(f"{model.name} has no labels of its own; give labels=['dog', 'rain', …] or a bank")
        labels = model.labels
    names = [labels] if isinstance(labels, str) else [str(label) for label in labels]
    if not names:
        raise ConfigError("labels: the list is empty; give at least one name")
    if template is None and all(name in compiled for name in names):
        return names, backend.label_rows[[compiled[name] for name in names]]
    if backend.text is None:
        new = [name for name in names if name not in compiled]
        raise ConfigError(
            f"{model.name} has no text side, so it cannot take {'a template' if not new else ', '.join(new[:5])}; "
            f"its own labels: {', '.join(model.labels[:5]) or 'none'}; or export the model again with its text side"
        )
    prompts = make_prompts(names, backend.text.default_templates if template is None else template)
    return names, np.asarray(backend.text.embed_classes(prompts), np.float32)

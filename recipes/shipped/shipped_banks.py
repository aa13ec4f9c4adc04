"""The ready banks of the shipped model, compiled with torch's own text tower, not with the compact one."""

import numpy as np

from tinyclap.checkpoints.folder import read_export
from tinyclap.errors import ConfigError
from tinyclap.teachers import make_teacher
from tinyclap.text.bank import BANKS, OWN_TAGS, LabelBank
from tinyclap.text.prompts import make_prompts, readable

TAGS = {"name": OWN_TAGS}


def build_banks(source, folder, classes):
    """Write the banks into an exported folder.

    Arguments
    ---------
    source : pathlib.Path
        The saved model that `folder` was exported from.
    folder : pathlib.Path
    classes : dict of str to sequence of str
        Name of the bank → the corpus' own names of its classes.

    Returns
    -------
    dict of str to tinyclap.text.bank.LabelBank

    Raises
    ------
    ConfigError
        `folder` was exported from another model.
    """
    teacher, config = make_teacher("checkpoint", weights=source).load(), read_export(folder)
    weights = teacher.folder_config["weights_sha256"]
    if config["provenance"]["weights_sha256"] != weights:
        raise ConfigError(f"{folder} was exported from another model than {source}; export it again first")
    common = (folder.name, config["files"][config["graphs"]["fp32"]], weights)
    banks = {}
    for name, names in classes.items():
        labels = [readable(each) for each in names]
        vectors = teacher.embed_classes(make_prompts(labels, teacher.default_templates)).numpy()
        about = (list(teacher.default_templates), teacher.score_kind, *common, config["text"]["identity"])
        banks[name] = LabelBank(labels, vectors, *about)
    banks["audioset"] = own_tags(teacher.folder_config["text_side"]["labels"], teacher.score_kind, common)
    (folder / BANKS).mkdir(exist_ok=True)
    for name, bank in banks.items():
        bank.save(folder / BANKS / f"{name}.npz")
    return banks


def own_tags(labels, score_kind, common):
    """The bank of the tags that the network was trained to give: each picks its own, so a score is √probability.

    A tag's name by way of the text side would be spread over its neighbours and divided by the tags' priors, which
    helps new names and harms these.
    """
    return LabelBank(labels, np.eye(len(labels), dtype=np.float32), ["{}"], score_kind, *common, TAGS)

"""The order of importance of a model's embedding dimensions, and which of them are kept.

``prune.py`` writes ``latent`` into ``config.json``: ``order`` (all D dimensions, most important first), where the order
comes from, and, once dimensions were removed, ``kept`` (the original dimension of each output) and ``n_dims`` (D).
"""

from __future__ import annotations

import numbers
import os
from pathlib import Path
from typing import Any

from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.files import CONFIG, model_folder, read_json

RANKING = "ranking.json"


def kept_dims(config: dict[str, Any]) -> list[int] | None:
    """The original dimension of each output of a model, most important first; None where none was removed.

    Example
    -------
    >>> kept_dims({"latent": {"order": [2, 0, 1], "kept": [2, 0], "n_dims": 3}}), kept_dims({"model": {}})
    ([2, 0], None)
    """
    return config.get("latent", {}).get("kept")


def tags_of(config: dict[str, Any]) -> list[str]:
    """Names of the kept outputs of a saved model in a tag space; else an empty list."""
    side, kept = config.get("text_side", {}), kept_dims(config)
    labels = side["labels"] if side.get("kind") == "tag_space" else []
    return labels if kept is None else [labels[index] for index in kept if labels]


def at_dim(
    model: Any, config: dict[str, Any], dim: int | None, source: str | os.PathLike[str]
) -> tuple[Any, dict[str, Any]]:
    """A model of its `dim` most important dimensions, in that order, and its config.

    Exact. A CLAP head whose kept bias is not zero computes all rows of the scale it needs, so it has fewer outputs and
    hardly costs less; ``prune.py --dim`` approximates the scale and says by how much.

    Arguments
    ---------
    model, config : An AudioStudent or Clap, and the config of its folder.
    dim : int or None. None leaves the model as it is.
    source : str or os.PathLike. Name of the folder in messages.
    """
    if dim is None:
        return model, config
    latent = config.get("latent", {})
    order = latent.get("kept") or latent.get("order")
    if not order:
        raise CheckpointError(
            f"{source}: no order of its dimensions is stored, so there is no dim={dim} of it; run python prune.py "
            f"{source} --ranking FOLDER --target FOLDER first"
        )
    if not hasattr(model, "keep_dims") or sorted(latent["order"]) != list(range(latent.get("n_dims", model.embed_dim))):
        raise CheckpointError(f"{source}: the order in its config is none of its {type(model).__name__}'s dimensions")
    if isinstance(dim, bool) or not isinstance(dim, numbers.Integral) or not 1 <= dim <= len(order):
        raise ConfigError(f"{source}: dim is 1 to {len(order)}, not {dim!r}")
    pruned = model.keep_dims(range(dim) if "kept" in latent else order[:dim])
    latent = {**latent, "kept": order[:dim], "n_dims": len(latent["order"])}
    return pruned, {**config, "model": pruned.config, "latent": latent}


def read_order(path: str | os.PathLike[str]) -> list[int]:
    """The stored order of a model's dimensions, most important first.

    `path` is a ranking's folder or its ``ranking.json``; or a student's folder, or its run's, with an order that
    ``python prune.py`` stored (0, 1, 2 … of a student that has lost dimensions: it is in that order).
    """
    path = Path(path)
    advice = "rank its dimensions first: python evaluate.py hparams/rank_latent.yaml --weights …"
    if path.is_file() or (path / RANKING).is_file():
        source = path if path.is_file() else path / RANKING
        order = read_json(source).get("order")
    else:
        try:
            source = model_folder(path) / CONFIG
        except CheckpointError:
            raise CheckpointError(f"{path}: neither a ranking nor a student is there; {advice}") from None
        latent = read_json(source).get("latent") or {}
        order = list(range(len(latent["kept"]))) if "kept" in latent else latent.get("order")
    if not isinstance(order, list) or sorted(order) != list(range(len(order))) or not order:
        raise CheckpointError(f"{source} holds no order of dimensions; {advice}; store it with python prune.py")
    return order

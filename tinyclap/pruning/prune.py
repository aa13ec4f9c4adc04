"""Prune a student's dimensions by a ranking, or store their order, and report the costs and the difference.

Exactness: see :mod:`tinyclap.models.pruned_head`.
"""

from dataclasses import dataclass
from pathlib import Path

from tinyclap.checkpoints.state import extra_of, load_student, save_folder
from tinyclap.config.kept_dims import RANKING, kept_dims, read_order
from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.files import CONFIG, model_folder, read_json, sha256_of, write_json
from tinyclap.metrics.cost import complexity
from tinyclap.pruning.exactness import clips_to_compare_on, difference, how_exact
from tinyclap.pruning.ranking import MOMENTS, check_kept, read_arrays
from tinyclap.published.networks import load_published
from tinyclap.teachers import make_teacher

REPORT = "pruning.json"


@dataclass
class PruneOptions:
    """Options of a pruning, as ``python prune.py --help`` describes them.

    Arguments
    ---------
    dim : int or None
    kept_fraction : float or None. With neither, only the order is stored.
    statistic_rows, hidden_fraction : See :func:`tinyclap.models.pruned_head.pruned_clap_head`; None: all.
    fold : bool
    check_audio : str or None. See :func:`tinyclap.pruning.exactness.clips_to_compare_on`.
    n_check, seed : int
    """

    dim: int | None = None
    kept_fraction: float | None = None
    statistic_rows: int | None = 32
    hidden_fraction: float | None = None
    fold: bool = False
    check_audio: str | None = None
    n_check: int = 64
    seed: int = 0


def open_model(model, path=None, text_weights=None, options=None):
    """Load the model to be pruned, and its folder's config without the model (``weights_sha256``, ``text_side`` …).

    Arguments
    ---------
    model : str or os.PathLike. A run's folder, or that of a saved model; with `path`, the name of a published network.
    path : str or os.PathLike, optional. The published file.
    text_weights : str or os.PathLike, optional. Of a published student: the weights of its text side.
    options : dict, optional. Sizes of a published network, such as ``{"alpha": 0.75}``.
    """
    if path is None:
        module, config = load_student(model)
        return module, {**extra_of(config), "weights_sha256": config["weights_sha256"]}
    options = options or {}
    network = load_published(str(model), path=path, **options)
    text = {} if text_weights is None else {"text_weights": str(text_weights)}
    side = make_teacher(str(model), weights=str(path), **text, **options).text_side()
    return network.audio, {"teacher": str(model), "text_side": side, "weights_sha256": sha256_of(path)}


def read_ranking(folder, model, note):
    """Read a ranking of this very model: all dimensions, ``latent`` for its config, and the moments or None.

    `folder` holds ``ranking.json`` and, where the scale of a CLAP head is approximated, ``moments.npz``; `model` and
    `note` are of :func:`open_model`.
    """
    folder = Path(folder)
    if kept_dims(note) is not None:
        raise ConfigError(
            f"this model has {model.embed_dim} of {note['latent']['n_dims']} dimensions left already; prune the whole "
            "one, or load this one with a smaller dim"
        )
    if not (folder / RANKING).is_file():
        raise CheckpointError(f"{folder}: no {RANKING}; write one with python evaluate.py hparams/rank_latent.yaml")
    order = check_kept(read_order(folder), model.embed_dim, model.embed_dim)
    found = read_json(folder / RANKING)
    ranked, ours = found["model"].get("weights_sha256"), (note["weights_sha256"], note.get("folded_from_sha256"))
    if ranked is not None and ranked not in ours:
        raise ConfigError(f"{folder} ranks other weights ({ranked[:12]}…, these are {ours[0][:12]}…); rank this model")
    moments = read_arrays(folder / MOMENTS, ()) if (folder / MOMENTS).is_file() else None
    return order, {"order": order, **{key: found[key] for key in ("ranking", "n_clips", "corpora")}}, moments


def prune(model, note, ranking, target, options):
    """Write the pruned model, or the model with its order, as a folder; returns the content of ``pruning.json``.

    Arguments
    ---------
    model, note : Of :func:`open_model`.
    ranking : str or os.PathLike. The ranking's folder.
    target : str or os.PathLike. Gets the model and ``pruning.json``; those of an earlier pruning are replaced.
    options : PruneOptions
    """
    _spare_the_model(target, note)
    order, latent, moments = read_ranking(ranking, model, note)
    dim = _dim(options, len(order))
    made = model
    if dim is not None:
        made = model.keep_dims(order[:dim], moments, options.statistic_rows, options.hidden_fraction)
        latent = {**latent, "kept": order[:dim], "n_dims": len(order)}
    if options.fold and not hasattr(made, "fold"):
        raise ConfigError(f"a {type(model).__name__} does not fold; leave out --fold, or export it, which folds")
    made = made.fold() if options.fold else made
    clips = clips_to_compare_on(model, options.check_audio, options.n_check, options.seed)
    report = {
        "format": 1,
        "n_dims": len(order),
        "kept_dims": made.embed_dim,
        "ranking": latent["ranking"],
        "n_clips_ranked": latent["n_clips"],
        **how_exact(made, dim is not None),
        "folded": options.fold or getattr(model, "folded", False),
        "before": complexity(model),
        "after": complexity(made),
        "difference": difference(model, made, latent.get("kept", range(len(order))), *clips),
    }
    extra = {key: value for key, value in note.items() if key != "weights_sha256"}
    save_folder(made, target, {**extra, "latent": latent, "pruned_from_sha256": note["weights_sha256"]})
    write_json(Path(target) / REPORT, report)
    return report


def _spare_the_model(target, note):
    """Refuse to write over the model itself: a folder with its weights that no pruning wrote."""
    if any((Path(target) / name).is_file() for name in (CONFIG, f"student/{CONFIG}")):
        found = read_json(model_folder(target) / CONFIG)
        if found.get("weights_sha256") == note["weights_sha256"] and "pruned_from_sha256" not in found:
            raise ConfigError(f"{target} holds the model that is to be pruned; give another --target")


def _dim(options, n_dims):
    """The number of dimensions to keep; None: all."""
    if options.dim is not None and options.kept_fraction is not None:
        raise ConfigError("give --dim or --kept_fraction, not both")
    if options.kept_fraction is not None:
        if not 0 < options.kept_fraction <= 1:
            raise ConfigError(f"--kept_fraction is in (0, 1], not {options.kept_fraction}")
        return max(1, round(options.kept_fraction * n_dims))
    if options.dim is None and options.hidden_fraction is not None:
        raise ConfigError("--hidden_fraction goes with --dim or --kept_fraction")
    if options.dim is not None and not 1 <= options.dim <= n_dims:
        raise ConfigError(f"--dim is from 1 to {n_dims}, not {options.dim}")
    return options.dim


def summary(target, report):
    """The report of :func:`prune` as text."""
    before, after, found = report["before"], report["after"], report["difference"]
    rows = [("dimensions", report["n_dims"], report["kept_dims"])]
    rows += [(name, before[key], after[key]) for name, key in (("parameters", "n_parameters"), ("MACs", "n_macs"))]
    lines = [f"{target}: {report['how']}", f"{'':12}{'before':>16}{'after':>16}{'saved':>9}"]
    lines += [f"{name:12}{old:>16,}{new:>16,}{100 * (1 - new / old):>7.1f} %" for name, old, new in rows]
    lines.append(
        f"against masking, on {found['n_windows']} windows of {found['clips']}: maximum difference of an entry "
        f"{found['max_abs']:.2g}, cosine {found['cosine_mean']:.6f} (minimum {found['cosine_min']:.6f})"
    )
    return "\n".join(lines)

"""Linear probes: a classifier of your own classes on a model's embeddings, trained in seconds, saved with the model.

Source: Alain & Bengio, "Understanding intermediate layers using linear classifier probes", ICLR workshop 2017.
"""

from __future__ import annotations

import numbers
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tinyclap.audio.clips import as_sources
from tinyclap.checkpoints.folder import checked_file, read_arrays, read_config
from tinyclap.errors import ConfigError
from tinyclap.files import CONFIG, model_folder, sha256_of, write_json
from tinyclap.inference.pretrained import from_pretrained
from tinyclap.inference.saved_folders import save_pretrained
from tinyclap.text.scores import audio_side, ranked, softmax_rows

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from tinyclap.audio.clips import Audio
    from tinyclap.inference.sound_model import SoundModel

PROBE, GRAPH = "probe.npz", "classifier.onnx"
STRENGTHS = (0.1, 1.0, 10.0, 100.0)  # inverse regularisation that is tried where none is given
_N_FOLDS, _N_ITERATIONS = 3, 2000


class Probe:
    """A linear classifier with the model it was trained on.

    Arguments
    ---------
    model : tinyclap.SoundModel. Where scores are ``sqrt_dot``, inputs are square roots of embeddings.
    classes : sequence of str, N of them
    weights, bias : numpy.ndarray, shapes (N, D) and (N,)
    note : dict. How it was trained; it is kept in the config.
    """

    def __init__(
        self,
        model: SoundModel,
        classes: Iterable[str],
        weights: ArrayLike,
        bias: ArrayLike,
        note: dict[str, Any] | None = None,
    ) -> None:
        self.model, self.classes, self.note = model, [str(name) for name in classes], dict(note or {})
        self.weights, self.bias = np.asarray(weights, np.float32), np.asarray(bias, np.float32)
        expected = (len(self.classes), model.embed_dim)
        if self.weights.shape != expected or self.bias.shape != expected[:1]:
            raise ConfigError(
                f"the probe's weights are {self.weights.shape}; {expected[0]} classes on {model.name} need {expected}: "
                "open the model as it was when the probe was trained, or train again"
            )

    def logits(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embeddings (B, D) → logits (B, N)."""
        return audio_side(rows, self.model.score_kind) @ self.weights.T + self.bias

    def predict_proba(self, audio: Audio, sample_rate_hz: int | None = None) -> NDArray[np.float32]:
        """Probabilities of the classes: (B, N), rows that add up to 1; arguments as in ``SoundModel.embed``."""
        return softmax_rows(self.logits(self.model.embed(audio, sample_rate_hz)))

    def predict(self, audio: Audio, sample_rate_hz: int | None = None) -> list[str]:
        """The best class of each clip: list of str."""
        return [self.classes[index] for index in self.predict_proba(audio, sample_rate_hz).argmax(axis=1)]

    def classify(self, audio: Audio, top: int = 5, sample_rate_hz: int | None = None) -> list[list[tuple[str, float]]]:
        """The best classes of each clip with their probabilities, best first: list of list of (str, float)."""
        return ranked(self.predict_proba(audio, sample_rate_hz), self.classes, top)

    def save(self, folder: str | os.PathLike[str], metrics: Any = ()) -> Path:
        """As ``save_pretrained``, with this probe, which :func:`load_probe` opens.

        An exported model also gets ``classifier.onnx``, where the package onnx is installed: one graph from waveforms
        to ``embedding`` and ``probabilities``, for devices that run no Python.
        """
        return save_pretrained(self.model, folder, metrics, add=self._add)

    def _add(self, folder: Path) -> None:
        np.savez(folder / PROBE, classes=np.asarray(self.classes), weights=self.weights, bias=self.bias)
        config = read_config(folder)
        config["probe"] = {**self.note, "file": PROBE, "sha256": sha256_of(folder / PROBE), "classes": self.classes}
        if "files" in config:
            config["files"][PROBE] = config["probe"]["sha256"]
            try:
                from tinyclap.export.probe_graph import write_classifier

                write_classifier(folder / config["graphs"]["fp32"], config, self, folder / GRAPH)
                config["files"][GRAPH] = sha256_of(folder / GRAPH)
            except ImportError:  # onnx is an extra; the probe works without it
                config["files"].pop(GRAPH, None)
        write_json(folder / CONFIG, config)


def train_probe(
    model: SoundModel,
    audio: Audio,
    names: Iterable[str],
    sample_rate_hz: int | None = None,
    strength: float | None = None,
    groups: Sequence[Any] | None = None,
) -> Probe:
    """Train a linear classifier of your own classes.

    Arguments
    ---------
    model : tinyclap.SoundModel
    audio : sequence of recordings, B of them. As in ``SoundModel.embed``.
    names : sequence of str, B of them. The class of each clip.
    sample_rate_hz : int or None. Of arrays.
    strength : float or None. scikit-learn's C (inverse L2 regularisation), > 0; None chooses it by cross-validation.
    groups : sequence, optional. Recording, speaker or place of each clip, which cross-validation does not split.

    Example
    -------
    >>> import tinyclap
    >>> tones = np.sin(np.outer([300, 3000] * 2, np.arange(16000) / 2500)).astype(np.float32)
    >>> probe = train_probe(tinyclap.from_pretrained(), tones, ["low", "high"] * 2, sample_rate_hz=16000, strength=10)
    >>> probe.predict(tones[:2], sample_rate_hz=16000)
    ['low', 'high']
    """
    sources = as_sources(audio)
    names = _checked(len(sources), names, strength, groups)
    return fit_probe(model, audio_side(model.embed(sources, sample_rate_hz), model.score_kind), names, strength, groups)


def fit_probe(
    model: SoundModel,
    features: NDArray[Any],
    names: Iterable[str],
    strength: float | None = None,
    groups: Sequence[Any] | None = None,
) -> Probe:
    """As :func:`train_probe`, of embeddings that :func:`tinyclap.text.scores.audio_side` has transformed.

    Arguments
    ---------
    model : tinyclap.SoundModel
    features : numpy.ndarray, shape (B, D)
    names, strength, groups : As in :func:`train_probe`.
    """
    labels = np.asarray(_checked(len(features), names, strength, groups))
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise ConfigError(f"scikit-learn is not installed ({error}); run: pip install 'tinyclap[sklearn]'") from error
    # one number, so that the regularisation means the same for features of any size
    scale = max(float(np.linalg.norm(features, axis=1).mean()), 1e-12)
    features = features / scale
    note: dict[str, Any] = {"n_clips": len(labels), "strength": strength}
    if strength is None:
        note |= _chosen_strength(LogisticRegression(max_iter=_N_ITERATIONS), features, labels, groups)
    fitted = LogisticRegression(C=note["strength"], max_iter=_N_ITERATIONS).fit(features, labels)
    weights, bias = fitted.coef_ / scale, fitted.intercept_
    if len(weights) == 1:  # of two classes scikit-learn has the second's logit alone
        weights, bias = np.concatenate([-weights, weights]) / 2, np.concatenate([-bias, bias]) / 2
    return Probe(model, fitted.classes_, weights, bias, note)


def load_probe(source: str | os.PathLike[str] | SoundModel, **options: Any) -> Probe:
    """Open a model (its name or folder, with options of ``tinyclap.from_pretrained``) and the probe saved with it."""
    model = from_pretrained(source, **options) if isinstance(source, (str, os.PathLike)) else source
    folder = model_folder(model.backend.folder)
    config = read_config(folder)
    note = config.get("probe")
    if note is None:
        raise ConfigError(f"{model.name}: no probe was saved with it; train_probe(model, paths, names).save(folder)")
    arrays = read_arrays(checked_file(folder, config, note["file"]), "classes", "weights", "bias")
    kept = {key: value for key, value in note.items() if key not in ("file", "sha256", "classes")}
    return Probe(model, arrays["classes"].tolist(), arrays["weights"], arrays["bias"], kept)


def _checked(n_clips: int, names: Iterable[str], strength: float | None, groups: Sequence[Any] | None) -> list[str]:
    """Names as a list; a ConfigError where training could not mean what it says."""
    found = list(names)
    odd = next((index for index, name in enumerate(found) if not isinstance(name, (str, numbers.Integral))), None)
    if odd is not None:
        raise ConfigError(f"name {odd} is {found[odd]!r}, no text: an empty cell of a table? Leave its clip out")
    found = [str(name) for name in found]
    if len(found) != n_clips or len(set(found)) < 2:
        raise ConfigError(
            f"{n_clips} clips have {len(found)} names of {len(set(found))} classes; give one name for each clip, "
            "of two classes at least"
        )
    if groups is not None and len(groups) != n_clips:
        raise ConfigError(f"{n_clips} clips have {len(groups)} groups; give one for each clip")
    if strength is not None and not (isinstance(strength, numbers.Real) and 0 < strength < float("inf")):
        raise ConfigError(f"strength={strength!r}: give a number above 0, such as 1.0, or None to choose one")
    return found


def _chosen_strength(
    classifier: Any, features: NDArray[Any], names: NDArray[Any], groups: Sequence[Any] | None
) -> dict[str, float]:
    """The strength with the best accuracy in cross-validation, and that accuracy."""
    from sklearn.model_selection import GridSearchCV, GroupKFold, StratifiedKFold

    rarest = np.unique(names, return_counts=True)[1].min()
    n_folds = min(_N_FOLDS, int(rarest) if groups is None else len(set(groups)))
    if n_folds < 2:
        return {"strength": 1.0}
    folds = StratifiedKFold(n_folds, shuffle=True, random_state=0) if groups is None else GroupKFold(n_folds)
    search = GridSearchCV(classifier, {"C": list(STRENGTHS)}, cv=folds, refit=False)
    search.fit(features, names, groups=groups)
    return {"strength": float(search.best_params_["C"]), "cross_validated_accuracy": float(search.best_score_)}

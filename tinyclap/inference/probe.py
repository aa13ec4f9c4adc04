"""A linear probe: a classifier of your own classes on a model's embeddings, trained in seconds, saved with the model.

    probe = train_probe(tinyclap.from_pretrained(), paths, names)
    probe.save("my-model")
    load_probe("my-model").predict(["new.wav"])

Training needs scikit-learn; a saved probe needs numpy. Source: Alain & Bengio, "Understanding intermediate layers using
linear classifier probes", ICLR workshop 2017.
"""

from pathlib import Path

import numpy as np

from tinyclap.checkpoints.exported import CONFIG, file_sha256
from tinyclap.checkpoints.folder import write_json
from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.inference.pretrained import from_pretrained
from tinyclap.inference.saved_folders import PROBE, config_of, save_pretrained
from tinyclap.text.scores import audio_side, ranked, softmax_rows

GRAPH = "classifier.onnx"
STRENGTHS = (0.1, 1.0, 10.0, 100.0)  # inverse regularisation that is tried where none is given
_N_FOLDS, _N_ITERATIONS = 3, 2000


class Probe:
    """A linear classifier with the model it was trained on.

    Arguments
    ---------
    model : tinyclap.inference.sound_model.SoundModel
    classes : sequence of str, N of them
    weights : numpy.ndarray, shape (N, D)
    bias : numpy.ndarray, shape (N,)
    note : dict
        How it was trained; it is kept in the config.

    Raises
    ------
    ConfigError
        The shapes fit neither each other nor the model.

    Notes
    -----
    Where scores are ``sqrt_dot``, it reads the square roots of the probabilities, as the scores do; else the embedding.
    """

    def __init__(self, model, classes, weights, bias, note=None):
        self.model, self.classes, self.note = model, [str(name) for name in classes], dict(note or {})
        self.weights, self.bias = np.asarray(weights, np.float32), np.asarray(bias, np.float32)
        expected = (len(self.classes), model.embed_dim)
        if self.weights.shape != expected or self.bias.shape != expected[:1]:
            raise ConfigError(
                f"the probe's weights are {self.weights.shape}; {expected[0]} classes on {model.name} need {expected}: "
                "open the model as it was when the probe was trained, or train again"
            )

    def logits(self, rows):
        """Embeddings (B, D) → logits (B, N)."""
        return audio_side(rows, self.model.score_kind) @ self.weights.T + self.bias

    def predict_proba(self, audio, sample_rate_hz=None):
        """Probabilities of the classes: (B, N), rows that add up to 1; arguments as in ``SoundModel.embed``."""
        return softmax_rows(self.logits(self.model.embed(audio, sample_rate_hz)))

    def predict(self, audio, sample_rate_hz=None):
        """The likeliest class of each clip: list of str."""
        return [self.classes[index] for index in self.predict_proba(audio, sample_rate_hz).argmax(axis=1)]

    def classify(self, audio, top=5, sample_rate_hz=None):
        """The likeliest classes of each clip with their probabilities, best first: list of list of (str, float)."""
        return ranked(self.predict_proba(audio, sample_rate_hz), self.classes, top)

    def save(self, folder, metrics=()):
        """Write the model with this probe: :func:`load_probe` opens it, and ``from_pretrained`` the model alone.

        Arguments
        ---------
        folder : str or os.PathLike
            Missing, empty, or an earlier save, which is then replaced.
        metrics
            For the card; see :func:`tinyclap.inference.saved_folders.save_pretrained`.

        Returns
        -------
        pathlib.Path

        Raises
        ------
        ConfigError, CheckpointError
            As in :func:`tinyclap.inference.saved_folders.save_pretrained`.

        Notes
        -----
        Beside ``probe.npz``, an exported model gets ``classifier.onnx``, where the package onnx is installed: one graph
        from waveforms to ``embedding`` and ``probabilities``, for devices that run no Python.
        """
        return save_pretrained(self.model, folder, metrics, add=self._add)

    def _add(self, folder):
        np.savez(folder / PROBE, classes=np.asarray(self.classes), weights=self.weights, bias=self.bias)
        config = config_of(folder / CONFIG, folder)
        config["probe"] = {**self.note, "file": PROBE, "sha256": file_sha256(folder / PROBE), "classes": self.classes}
        if "files" in config:
            config["files"][PROBE] = config["probe"]["sha256"]
            if self._write_graph(folder, config):
                config["files"][GRAPH] = file_sha256(folder / GRAPH)
        write_json(folder / CONFIG, config)

    def _write_graph(self, folder, config):
        try:
            from tinyclap.export.probe_graph import write_classifier
        except ImportError:  # onnx is an extra; the probe works without it
            return False
        write_classifier(folder / config["graphs"]["fp32"], config, self, folder / GRAPH)
        return True


def train_probe(model, audio, names, sample_rate_hz=None, strength=None, groups=None):
    """Train a linear classifier of your own classes.

    Arguments
    ---------
    model : tinyclap.inference.sound_model.SoundModel
    audio : sequence of str, os.PathLike or numpy.ndarray, B of them
        As in ``SoundModel.embed``.
    names : sequence of str, B of them
        The class of each clip.
    sample_rate_hz : int or None
        Of arrays.
    strength : float or None
        Inverse of the L2 regularisation (scikit-learn's C); None tries some by cross-validation of these clips.
    groups : sequence, optional
        Which clips are of one recording: cross-validation keeps those together.

    Returns
    -------
    Probe

    Raises
    ------
    ConfigError
        There are not as many names as clips, or fewer than two classes; or scikit-learn is not installed.
    AudioError
        A clip cannot be used.
    """
    audio = audio if hasattr(audio, "shape") else list(audio)
    names = [str(name) for name in names]
    if len(names) != len(audio) or len(set(names)) < 2:
        raise ConfigError(
            f"{len(audio)} clips have {len(names)} names of {len(set(names))} classes; give one name for each clip, "
            "of two classes at least"
        )
    rows = audio_side(model.embed(audio, sample_rate_hz), model.score_kind)
    return fit_probe(model, rows, np.asarray(names), strength, groups)


def fit_probe(model, features, names, strength=None, groups=None):
    """As :func:`train_probe`, of embeddings that are there.

    Arguments
    ---------
    model : tinyclap.inference.sound_model.SoundModel
    features : numpy.ndarray, shape (B, D)
        What :func:`tinyclap.text.scores.audio_side` made of them.
    names : numpy.ndarray of str, shape (B,)
    strength, groups
        As in :func:`train_probe`.

    Returns
    -------
    Probe
    """
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise ConfigError(f"scikit-learn is not installed ({error}); run: pip install 'tinyclap[sklearn]'") from error
    # one number, so that the regularisation means the same for features of any size
    scale = max(float(np.linalg.norm(features, axis=1).mean()), 1e-12)
    features = features / scale
    note = {"n_clips": len(names), "strength": strength}
    if strength is None:
        note |= _chosen_strength(LogisticRegression(max_iter=_N_ITERATIONS), features, names, groups)
    fitted = LogisticRegression(C=note["strength"], max_iter=_N_ITERATIONS).fit(features, names)
    weights, bias = fitted.coef_ / scale, fitted.intercept_
    if len(weights) == 1:  # of two classes scikit-learn has the second's logit alone
        weights, bias = np.concatenate([-weights, weights]) / 2, np.concatenate([-bias, bias]) / 2
    return Probe(model, fitted.classes_, weights, bias, note)


def load_probe(source, **options):
    """Open a model with the probe that was saved with it.

    Arguments
    ---------
    source : str, os.PathLike or tinyclap.inference.sound_model.SoundModel
        As in :func:`tinyclap.from_pretrained`, or a model that is open.
    **options
        Of :func:`tinyclap.from_pretrained`.

    Returns
    -------
    Probe

    Raises
    ------
    ConfigError
        No probe was saved with it, or the model was opened with another ``dim``.
    CheckpointError
        The probe's file is missing or changed.
    """
    model = source if hasattr(source, "embed") else from_pretrained(source, **options)
    folder = Path(model.backend.folder)
    folder = folder if (folder / CONFIG).is_file() else folder / "student"
    note = config_of(folder / CONFIG, folder).get("probe")
    if note is None:
        raise ConfigError(f"{model.name}: no probe was saved with it; train_probe(model, paths, names).save(folder)")
    path = folder / note["file"]
    if not path.is_file() or file_sha256(path) != note["sha256"]:
        raise CheckpointError(f"{path}: missing, cut short or changed; copy the folder again")
    with np.load(path) as content:
        kept = {key: value for key, value in note.items() if key not in ("file", "sha256", "classes")}
        return Probe(model, content["classes"].tolist(), content["weights"], content["bias"], kept)


def _chosen_strength(classifier, features, names, groups):
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

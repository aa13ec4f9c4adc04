"""Importance of the shared space's dimensions: moments, orders, PCA and whitening.

Source: Paissan & Farella, "tinyCLAP", Interspeech 2024, Eq. 8: dimensions are ranked by their mean absolute activation
over the training set, and the last ones masked. The code was never released; the paper leaves open on which side of the
normalisation the mean is taken, and what is done to the text. Here:

* an activation is an entry of the clip embedding in the form that enters the dot product with a text
  (:func:`tinyclap.text.scores.audio_side`): L2-normalised for cosines, the square root of a probability in a tag space;
* audio and text lose the same dimensions, and cosines are normalised again by the length of what is kept;
* PCA rotates both towers by the eigenvectors of the training clips' second moment, not centred, so that all dimensions
  together score as before. Whitening also divides both sides by the square roots of the eigenvalues: another score.
"""

import zipfile

import numpy as np

from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.files import atomic_path

FORMAT = 1
MOMENTS, EMBEDDINGS = "moments.npz", "embeddings.npz"
# Name of a ranking → the moment that decides; "stored" keeps the model's own order.
STATISTICS = {"mean_abs": "mean_abs", "variance": "std", "stored": "mean_abs"}
RIDGE = 1.0


class Moments:
    """First and second moments of `n` rows that come batch by batch, in float64."""

    def __init__(self):
        self.n = 0
        self._sum = self._sum_abs = self._outer = 0.0

    def add(self, rows):
        """Add rows (B, D)."""
        rows = np.asarray(rows, dtype=np.float64)
        self.n += len(rows)
        self._sum = self._sum + rows.sum(axis=0)
        self._sum_abs = self._sum_abs + np.abs(rows).sum(axis=0)
        self._outer = self._outer + rows.T @ rows

    def result(self):
        """``mean``, ``mean_abs``, ``std`` (D,) and ``second_moment`` (D, D), not centred."""
        if not self.n:
            raise ConfigError("moments of no rows: no clip was embedded")
        mean, second = self._sum / self.n, self._outer / self.n
        std = np.sqrt(np.maximum(np.diag(second) - mean**2, 0.0))
        return {"mean": mean, "mean_abs": self._sum_abs / self.n, "std": std, "second_moment": second}


def order_of(importance):
    """Dimensions by falling importance; equals keep their places."""
    return [int(index) for index in np.argsort(-np.asarray(importance, dtype=np.float64), kind="stable")]


def read_arrays(path, names):
    """Read the arrays of an ``.npz`` file, `names` among them: dict of str to numpy.ndarray."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = dict(archive)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path}: cannot be read ({error})") from error
    missing = [name for name in names if name not in arrays]
    if missing:
        raise CheckpointError(f"{path} lacks {', '.join(missing)}; write it again")
    return arrays


def write_arrays(path, **arrays):
    """Write an ``.npz`` file atomically."""
    with atomic_path(path) as part, open(part, "wb") as file:
        np.savez_compressed(file, **arrays)


def check_kept(order, kept, n_dims):
    """The first `kept` entries of an order of all `n_dims` dimensions."""
    if len(order) != n_dims:
        raise ConfigError(f"a ranking of {len(order)} dimensions for embeddings of {n_dims}: it is another model's")
    if not isinstance(kept, int) or not 1 <= kept <= n_dims:
        raise ConfigError(f"kept_dims is {kept}; keep from 1 to {n_dims}")
    return list(order[:kept])


def principal_basis(second_moment, whiten=False, ridge=RIDGE):
    """Axes of the largest second moment (D, D), one a column: ``rows @ basis`` for both towers.

    `second_moment` is the mean of ``x xᵀ`` over the training clips. `whiten` also divides by the square roots of the
    eigenvalues plus `ridge` times their mean, so that directions that training clips hardly use are not blown up.
    """
    values, vectors = np.linalg.eigh(np.asarray(second_moment, dtype=np.float64))
    values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
    return vectors / np.sqrt(values + ridge * values.mean()) if whiten else vectors

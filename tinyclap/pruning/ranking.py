"""Which dimensions of the shared space matter: their ranking, fewer of them, and what accuracy is left.

Source: Paissan & Farella, "tinyCLAP", Interspeech 2024, Eq. 8: entries of the shared space that contribute least are
masked out; they are ranked by their mean absolute activation over the training set. The code of it was never released,
and neither the side of the normalisation on which the mean is taken nor what is done to the text was said; here:

* an activation is an entry of the clip embedding in the form in which it enters the dot product with a text
  (:func:`tinyclap.text.scores.audio_side`): of a unit vector for cosines, the root of a probability in a tag space;
* audio and text lose the same entries, and cosines are normalised again afterwards. The dot product would be the same
  were one side masked alone. An audio vector's length changes no decision, as it is the same for all classes; a text's
  does, so which of its lengths divides is a choice, and it is the length of what is kept;
* PCA turns both towers by the eigenvectors of the training clips' second moment. Nothing is centred: a rotation leaves
  every dot product as it was, so all dimensions together score exactly as before, and no mean of texts is needed, which
  training without text has not got. Whitening then divides both sides by the square roots of the eigenvalues, which is
  another score even when all dimensions are kept.
"""

import zipfile
from pathlib import Path

import numpy as np

from tinyclap.errors import CheckpointError, ConfigError

FORMAT = 1
MOMENTS, EMBEDDINGS = "moments.npz", "embeddings.npz"
# The recipe's name of a ranking → the moment that it looks at; "stored" keeps the order that the model came with.
STATISTICS = {"mean_abs": "mean_abs", "variance": "std", "stored": "mean_abs"}
RIDGE = 1.0


class Moments:
    """First and second moments of rows that come batch by batch, in float64.

    Attributes
    ----------
    n : int
        Rows so far.

    Example
    -------
    >>> moments = Moments()
    >>> moments.add([[1.0, -1.0]]); moments.add([[3.0, -1.0]])
    >>> found = moments.result()
    >>> found["mean"].tolist(), found["mean_abs"].tolist(), found["std"].tolist()
    ([2.0, -1.0], [2.0, 1.0], [1.0, 0.0])
    """

    def __init__(self):
        self.n = 0
        self._sum = self._sum_abs = self._outer = 0.0

    def add(self, rows):
        """Take up rows of shape (B, D)."""
        rows = np.asarray(rows, dtype=np.float64)
        self.n += len(rows)
        self._sum = self._sum + rows.sum(axis=0)
        self._sum_abs = self._sum_abs + np.abs(rows).sum(axis=0)
        self._outer = self._outer + rows.T @ rows

    def result(self):
        """What was gathered.

        Returns
        -------
        dict of str to numpy.ndarray
            ``mean``, ``mean_abs``, ``std`` of shape (D,) and ``second_moment`` (D, D), which is not centred.

        Raises
        ------
        ConfigError
            There were no rows.
        """
        if not self.n:
            raise ConfigError("moments of no rows: no clip was embedded")
        mean, second = self._sum / self.n, self._outer / self.n
        std = np.sqrt(np.maximum(np.diag(second) - mean**2, 0.0))
        return {"mean": mean, "mean_abs": self._sum_abs / self.n, "std": std, "second_moment": second}


def order_of(importance):
    """Dimensions from the most to the least important; equals keep their places.

    Example
    -------
    >>> order_of([0.1, 0.7, 0.1, 0.3])
    [1, 3, 0, 2]
    """
    return [int(index) for index in np.argsort(-np.asarray(importance, dtype=np.float64), kind="stable")]


def read_arrays(path, names):
    """Arrays of an ``.npz`` file.

    Arguments
    ---------
    path : str or os.PathLike
    names : iterable of str
        What has to be in it.

    Returns
    -------
    dict of str to numpy.ndarray
        All that is in it.

    Raises
    ------
    CheckpointError
        The file is missing or unreadable, or lacks something.
    """
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
    """Write an ``.npz`` file at `path`, whole or not at all."""
    path = Path(path)
    part = path.with_name(path.name + ".part")
    with open(part, "wb") as file:
        np.savez_compressed(file, **arrays)
    part.replace(path)


def check_kept(order, kept, n_dims):
    """The first `kept` entries of an order.

    Arguments
    ---------
    order : sequence of int
    kept : int
        From 1 to all.
    n_dims : int
        D of the model.

    Returns
    -------
    list of int

    Raises
    ------
    ConfigError
        The order is of another model, or so many cannot be kept.

    Example
    -------
    >>> check_kept([2, 0, 1], 2, 3)
    [2, 0]
    """
    if len(order) != n_dims:
        raise ConfigError(f"a ranking of {len(order)} dimensions for embeddings of {n_dims}: it is another model's")
    if not isinstance(kept, int) or not 1 <= kept <= n_dims:
        raise ConfigError(f"kept_dims is {kept}; keep from 1 to {n_dims}")
    return list(order[:kept])


def principal_basis(second_moment, whiten=False, ridge=RIDGE):
    """The axes along which the clips are largest, for both towers: ``rows @ basis`` has them in order.

    Arguments
    ---------
    second_moment : array, shape (D, D)
        Mean of ``x xᵀ`` over the training clips, as they are scored.
    whiten : bool
        Also divide by the square root of the eigenvalues.
    ridge : float
        Added to the eigenvalues before the root, as a share of their mean: directions that the training clips hardly
        use, and texts do, are not blown up. With `whiten` alone. The larger, the nearer to PCA.

    Returns
    -------
    numpy.ndarray, shape (D, D)
        One axis a column, that of the largest eigenvalue first. Without `whiten` it is orthogonal, so dot products of
        rows that both were turned by it are those from before.

    Example
    -------
    >>> np.abs(principal_basis([[1.0, 0.0], [0.0, 4.0]])).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    >>> np.abs(principal_basis([[1.0, 0.0], [0.0, 4.0]], whiten=True, ridge=0.0)).tolist()
    [[0.0, 1.0], [0.5, 0.0]]
    """
    values, vectors = np.linalg.eigh(np.asarray(second_moment, dtype=np.float64))
    values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
    return vectors / np.sqrt(values + ridge * values.mean()) if whiten else vectors

"""Microsoft CLAP 2022, the teacher of the tinyCLAP paper, and its published students, which it gives its text tower."""

from tinyclap.files import sha256_of
from tinyclap.published.networks import load_published
from tinyclap.published.table import PUBLISHED
from tinyclap.published.tokenizers import BERT
from tinyclap.teachers.base import TowerTeacher


class MsClapTeacher(TowerTeacher):
    """Microsoft CLAP 2022: CNN14 + BERT, embeddings (B, 1024), L2-normalised.

    Arguments
    ---------
    weights : str or os.PathLike. ``CLAP_weights_2022.pth`` (2 GB, MS-PL), or ``"download"`` to fetch it into `cache`.
    tokenizer : str or os.PathLike. Local folder or hub name of BERT's tokenizer; loaded with the first text.
    cache : str or os.PathLike, optional. Folder of the download; None: that of :func:`cache_folder`.
    """

    columns = ("clip", "frames")

    def __init__(self, weights, tokenizer=BERT, cache=None):
        super().__init__("msclap2022")
        self.weights, self.tokenizer, self.cache = weights, tokenizer, cache
        self.sample_rate_hz, self.embed_dim = 44100, 1024

    def _load(self):
        self.model = load_published("msclap2022", path=self._path(), tokenizer=str(self.tokenizer))

    def _path(self):
        return PUBLISHED["msclap2022"].at(self.weights, self.cache)

    def _decides(self):
        return {"weights_sha256": sha256_of(self._path())}

    def text_side(self):
        """The config of its text side."""
        return {"kind": "msclap2022", "weights": str(self.weights), "tokenizer": str(self.tokenizer)}


class PublishedStudent(TowerTeacher):
    """A published tinyCLAP student and Microsoft CLAP's text tower.

    Arguments
    ---------
    weights : str or os.PathLike. ``student_model.ckpt`` of huggingface.co/fpaissan/tinyCLAP.
    text_weights : str or os.PathLike. ``CLAP_weights_2022.pth``.
    alpha, beta, t_zero, n_layers : The PhiNet, as in the published folder's name (``alpha_1.50_beta_0.75_t0_6_N_7``).
    tokenizer : str. See :class:`MsClapTeacher`.
    """

    def __init__(self, weights, text_weights, alpha=1.5, beta=0.75, t_zero=6, n_layers=7, tokenizer=BERT):
        super().__init__("tinyclap-student")
        self.weights, self.text = weights, MsClapTeacher(text_weights, tokenizer)
        self.text_embedder = self.text
        self.architecture = {"alpha": alpha, "beta": beta, "t_zero": t_zero, "n_layers": n_layers}
        self.sample_rate_hz, self.embed_dim = 44100, 1024

    def _load(self):
        self.text_embedder.load()
        self.model = load_published("tinyclap-student", path=self.weights, **self.architecture)

    def _decides(self):
        return {**self.architecture, "weights_sha256": sha256_of(PUBLISHED["tinyclap-student"].at(self.weights))}

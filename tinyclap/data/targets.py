"""TeacherTargets: what a teacher gives for each view of a run's clips, computed live or read from a cache."""

from torch import nn


class TeacherTargets(nn.Module):
    """A teacher's targets as named columns, live or from a target cache.

    Arguments
    ---------
    teacher : tinyclap.teachers.FrozenTeacher or None
        With ``columns`` and ``targets(wavs, sample_rate_hz, columns)``. None, or one without weights, takes a cache as
        it is; None and no folder: there are no targets.
    views : tinyclap.data.views.Views or list of them
        Entries that are None are left out.
    columns : sequence of str. Of the teacher's: clip, frames, middle, tags, caption, token_choices.
    folder : str or os.PathLike, optional. The target cache; None: the teacher computes them in every step.
    features : tinyclap.features.log_mel.LogMel, optional
        The student's front end, whose output is then cached too, as the column ``log_mel``.
    precision : {"fp32", "bf16"}. Of the teacher; see ``FrozenTeacher.use_precision``.
    batch_size : int. Views in a batch of the teacher.
    n_processes : int. CPU processes that make the cache, each with its own teacher; 0 and 1: this process.
    n_readers : int, optional. Processes that load audio for a teacher in this process.
    device : str, optional. Of the teacher while the cache is made; None: this process' GPU where there is one.
    """

    def __init__(
        self,
        teacher,
        views,
        columns=("clip",),
        folder=None,
        features=None,
        precision="fp32",
        batch_size=32,
        n_processes=0,
        n_readers=None,
        device=None,
    ):
        super().__init__()
        self.teacher, self.folder = teacher, folder
        self.kind = self.embed_dim = self.score_kind = self.identity = self.words = None

    @property
    def is_cached(self):
        """Whether the targets come from a cache."""
        return self.folder is not None

    @property
    def columns(self):
        """Names of the targets; ``log_mel`` among them where the student's input is cached."""

    def load(self, verify=False):
        """Load a live teacher; or make missing shards and open the cache (`verify`: hash all of it); returns itself."""

    def text_side(self):
        """The text side in a student's config, as it was when the cache was begun."""

    def get(self, clip, view, column):
        """One cached target of a view: numpy.ndarray float16, str, or WordChoices of arrays (ids of `words`)."""

    def example(self, clip, view):
        """All cached columns of a view: dict."""

    def values(self, column):
        """Iterate over a cached column, in the order of the cache."""

    def forward(self, batch):
        """Targets of a batch: dict column → tensor or list, its own where cached, else the teacher's of ``wavs``."""

    def embed_text(self, texts):
        """The live teacher's text embeddings (N, D)."""

    def scale(self, n_processes=0, ray_address=None):
        """Set who makes the shards: `n_processes` of this machine, or a Ray cluster (`ray_address`, or ``"local"``)."""

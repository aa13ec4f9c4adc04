"""Head, output and loss of a tagger's student in each of its teacher's two spaces, for the recipe's key ``space``."""

from tinyclap.errors import ConfigError

_SPACES = {"tag": ("tag", "sigmoid", "tag_profile"), "sentence": ("clap", "none", "cosine")}


class StudentSpace:
    """The parts of a recipe that follow its space: ``head``, ``output``, ``loss`` and ``embed_dim``.

    Arguments
    ---------
    space : {"tag", "sentence"}. See :class:`tinyclap.teachers.tagger.TaggerTeacher`.
    n_tags, sentence_dim : int. Widths of the two spaces.
    head : str, optional. Another head than the space's own; see :func:`tinyclap.models.projection.make_head`.
    """

    def __init__(self, space, n_tags, sentence_dim, head=None):
        if space not in _SPACES:
            raise ConfigError(f"space {space!r} is unknown; choose one of {', '.join(_SPACES)}")
        own_head, self.output, self.loss = _SPACES[space]
        self.head = own_head if head is None else head
        self.embed_dim = n_tags if space == "tag" else sentence_dim

"""Which corpora a run uses: those whose folders were named.

A recipe lists every corpus that it can train on, with its preparation and its folder's key; a corpus whose folder is
null is left out. The preparation itself lives in ``data_prep/`` and arrives here as a callable of the YAML.
"""

from pathlib import Path

from tinyclap.errors import ConfigError


class Corpus:
    """One corpus and what a run takes from it.

    Arguments
    ---------
    name : str. As its manifests are called: ``<name>_<split>.json``.
    folder : str or os.PathLike, optional. Where it is; None leaves it out.
    prepare : callable. ``prepare(data_folder, manifest_folder, **options)``, from ``data_prep``.
    train, valid, test : dict, optional. Options of each part, ``split`` among them: one name, or a list of names.
    """

    def __init__(self, name, folder, prepare, train=None, valid=None, test=None):
        self.name, self.folder, self._prepare = name, folder, prepare
        self.parts = {
            part: options for part, options in (("train", train), ("valid", valid), ("test", test)) if options
        }
        for part, options in self.parts.items():
            if "split" not in options:
                raise ConfigError(f"corpus {name}: its {part} part has no split, so its manifest would have no name")

    def prepare(self, manifest_folder):
        """Write the manifests of all parts (unchanged ones are left alone)."""
        for part, options in self.parts.items():
            for split in self.splits(part):
                self._prepare(data_folder=self.folder, manifest_folder=manifest_folder, **{**options, "split": split})

    def splits(self, part):
        """Names of the splits of one part: a list, empty where this corpus has no such part."""
        split = self.parts.get(part, {"split": []})["split"]
        return [split] if isinstance(split, str) else list(split)

    def manifests(self, part, manifest_folder):
        """Paths of the manifests of one part."""
        return [Path(manifest_folder) / f"{self.name}_{split}.json" for split in self.splits(part)]


class Corpora:
    """The corpora of a run.

    Arguments
    ---------
    corpora : list of Corpus
    manifest_folder : str or os.PathLike. Where the manifests go.
    may_be_empty : bool. For corpora that a run can do without.

    Raises
    ------
    ConfigError: None of them has a folder, and they may not be empty.
    """

    def __init__(self, corpora, manifest_folder, may_be_empty=False):
        self.corpora = [corpus for corpus in corpora if corpus.folder is not None]
        self.manifest_folder = Path(manifest_folder)
        if not self.corpora and not may_be_empty:
            names = ", ".join(corpus.name for corpus in corpora)
            raise ConfigError(f"no corpus was named; give the folder of at least one of: {names}")

    def prepare(self):
        """Write every manifest that is missing or out of date."""
        for corpus in self.corpora:
            corpus.prepare(self.manifest_folder)

    def manifests(self, part):
        """The manifests of one part of the run.

        Arguments
        ---------
        part : str. ``"train"``, ``"valid"`` or ``"test"``.

        Returns
        -------
        list of (pathlib.Path, str). Manifest and the folder that its paths start from.
        """
        return [
            (path, str(corpus.folder))
            for corpus in self.corpora
            for path in corpus.manifests(part, self.manifest_folder)
        ]

    def describe(self):
        """Names and parts, JSON-able, for the run's record; where they lie on this machine is left out."""
        return [{"name": corpus.name, "parts": corpus.parts} for corpus in self.corpora]


def folder_if(folder, wanted):
    """`folder` where `wanted` is true (a number above zero, say), else None: a corpus without a folder is left out."""
    return folder if wanted else None

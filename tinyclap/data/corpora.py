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
    name : str
        As its manifests are called: ``<name>_<split>.json``.
    folder : str or os.PathLike, optional
        Where it is; None leaves it out.
    prepare : callable
        ``prepare(data_folder, manifest_folder, **options)``, from ``data_prep``.
    train, valid, test : dict, optional
        Options of each part, ``split`` among them.
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
        for options in self.parts.values():
            self._prepare(data_folder=self.folder, manifest_folder=manifest_folder, **options)

    def manifest(self, part, manifest_folder):
        """Path of the manifest of one part, or None where this corpus has no such part."""
        if part not in self.parts:
            return None
        return Path(manifest_folder) / f"{self.name}_{self.parts[part]['split']}.json"


class Corpora:
    """The corpora of a run.

    Arguments
    ---------
    corpora : list of Corpus
    manifest_folder : str or os.PathLike
        Where the manifests go.

    Raises
    ------
    ConfigError
        None of them has a folder.
    """

    def __init__(self, corpora, manifest_folder):
        self.corpora = [corpus for corpus in corpora if corpus.folder is not None]
        self.manifest_folder = Path(manifest_folder)
        if not self.corpora:
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
        part : str
            ``"train"``, ``"valid"`` or ``"test"``.

        Returns
        -------
        list of (pathlib.Path, str)
            Manifest and the folder that its paths start from.
        """
        pairs = [(corpus.manifest(part, self.manifest_folder), str(corpus.folder)) for corpus in self.corpora]
        return [(path, folder) for path, folder in pairs if path is not None]

    def describe(self):
        """Names and parts, JSON-able, for the run's record; where they lie on this machine is left out."""
        return [{"name": corpus.name, "parts": corpus.parts} for corpus in self.corpora]

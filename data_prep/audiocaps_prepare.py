"""AudioCaps: captions of ten-second excerpts of AudioSet; one caption a clip for training, five for the other splits.

Source: C. D. Kim, B. Kim, H. Lee, G. Kim, "AudioCaps: Generating Captions for Audios in The Wild", NAACL 2019; tables
of version 1 as in the authors' repository. The audio is the user's own collection from YouTube, and seldom whole: what
is missing is counted, not refused.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from data_prep import cli, common

CORPUS = common.Corpus(
    dataset="audiocaps",
    title="AudioCaps",
    version="1",
    page="https://github.com/cdjkim/audiocaps",
    licence="captions MIT; audio: excerpts of YouTube videos, of their owners",
    tree="""
AudioCaps/
  {train,val,test}.csv             audiocap_id,youtube_id,start_time,caption
  {train,val,test}/{youtube_id}.wav   the clips that you have (also .flac, .ogg, .mp3)
""",
)
COLUMNS = ("audiocap_id", "youtube_id", "start_time", "caption")
N_ROWS = {"train": 49838, "val": 2475, "test": 4875}
N_CAPTIONS = {"train": 1, "val": 5, "test": 5}  # of each clip
SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3")


def prepare_audiocaps(
    data_folder: str,
    manifest_folder: str,
    split: str = "test",
    subset: str | None = None,
    check_audio: bool = True,
) -> None:
    """Write the manifest ``audiocaps_<split>.json`` of the clips that are there.

    Arguments
    ---------
    data_folder : str
        ``AudioCaps``, or the folder that has it.
    manifest_folder : str
        Where the manifest goes.
    split : str
        train, val or test.
    subset : str or None
        None insists on the rows of the tables of version 1, and on the captions of each clip; "listed" and "present"
        take other tables, such as those of version 2.
    check_audio : bool
        False leaves out clips that cannot be read, instead of raising.

    Raises
    ------
    tinyclap.errors.DataLayoutError
        Lists everything that is wrong with the folder; a missing clip is not, as long as there is one.
    tinyclap.errors.ConfigError
        An option has no such value.

    Notes
    -----
    ``_meta`` has ``n_expected`` and ``n_present``; the log says both.
    """
    common.check_choice("split", split, tuple(N_ROWS))
    common.check_choice("subset", subset, common.SUBSETS)
    table_name = f"{split}.csv"
    preparation = common.Preparation(CORPUS, __file__, data_folder, "AudioCaps", table_name)
    options = {"subset": subset, "check_audio": check_audio}
    if preparation.unchanged(manifest_folder, split, options, [table_name], [split]):
        return
    preparation.require_tree([table_name, split])
    table = preparation.read_table(table_name, COLUMNS)
    problems = common.count_problems(f"rows in {table_name}", len(table), N_ROWS[split]) if subset is None else []
    problems += [
        f"{table_name}: audiocap_id {row['audiocap_id']} (clip {row['youtube_id']}) has an empty caption"
        for row in table
        if not any(map(str.isalnum, row["caption"]))
    ]
    rows = _grouped(table, preparation.root / split)
    if subset is None:
        problems += [
            f"{table_name}: clip {key} has {len(row['captions'])} caption(s), published are {N_CAPTIONS[split]}"
            for key, row in rows.items()
            if len(row["captions"]) != N_CAPTIONS[split]
        ]
    items = preparation.build_items(rows, "present", check_audio, problems)
    preparation.write(items)


def _grouped(table, folder):
    """Rows by clip: captions of one excerpt together, in the table's order."""
    paths = {path.stem: path for path in sorted(folder.iterdir(), reverse=True) if path.suffix.lower() in SUFFIXES}
    n_starts = {}
    for row in table:
        n_starts.setdefault(row["youtube_id"], set()).add(row["start_time"])
    rows = {}
    for row in table:
        youtube_id = row["youtube_id"]
        # Two excerpts of one video exist in no published table; a user's own table may have them.
        key = youtube_id if len(n_starts[youtube_id]) == 1 else f"{youtube_id}_{row['start_time']}"
        names = (key, youtube_id, f"Y{youtube_id}")
        path = next((paths[name] for name in names if name in paths), folder / f"{key}.wav")
        caption = " ".join(row["caption"].split())
        rows.setdefault(key, {"path": path, "captions": [], "group": youtube_id})["captions"].append(caption)
    return rows


if __name__ == "__main__":
    sys.exit(cli.run(prepare_audiocaps))

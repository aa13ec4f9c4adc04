"""ESC-50: 2000 clips of 50 everyday sounds, five folds.

Source: K. J. Piczak, "ESC: Dataset for Environmental Sound Classification", ACM Multimedia 2015; layout and classes
from the dataset's own repository.
"""

import sys
from collections import Counter
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from data_prep import cli, common

CORPUS = common.Corpus(
    dataset="esc50",
    title="ESC-50",
    version="1",
    page="https://github.com/karolpiczak/ESC-50",
    licence="CC BY-NC 3.0 (clips marked esc10: CC BY)",
    tree="""
ESC-50-master/
  audio/{fold}-{freesound id}-{take}-{target}.wav   2000 clips of 5 s
  meta/esc50.csv                                    filename,fold,target,category,esc10,src_file,take
""",
)
TABLE = "meta/esc50.csv"
COLUMNS = ("filename", "fold", "target", "category", "src_file")
FOLDS = (1, 2, 3, 4, 5)
N_PER_CLASS_AND_FOLD = 8
# The position of a class is its `target` in the table.
CLASSES = (
    *("dog", "rooster", "pig", "cow", "frog", "cat", "hen", "insects", "sheep", "crow"),
    *("rain", "sea_waves", "crackling_fire", "crickets", "chirping_birds"),
    *("water_drops", "wind", "pouring_water", "toilet_flush", "thunderstorm"),
    *("crying_baby", "sneezing", "clapping", "breathing", "coughing"),
    *("footsteps", "laughing", "brushing_teeth", "snoring", "drinking_sipping"),
    *("door_wood_knock", "mouse_click", "keyboard_typing", "door_wood_creaks", "can_opening"),
    *("washing_machine", "vacuum_cleaner", "clock_alarm", "clock_tick", "glass_breaking"),
    *("helicopter", "chainsaw", "siren", "car_horn", "engine", "train", "church_bells", "airplane", "fireworks"),
    "hand_saw",
)


def prepare_esc50(
    data_folder: str,
    manifest_folder: str,
    split: str = "test",
    folds: list[int] | None = None,
    subset: str | None = None,
    check_audio: bool = True,
) -> None:
    """Write the manifest ``esc50_<split>.json``.

    Arguments
    ---------
    data_folder : str
        ``ESC-50-master``, or the folder that has it.
    manifest_folder : str
        Where the manifest goes.
    split : str
        Name of the manifest, such as train or test.
    folds : list of int or None
        Of 1 to 5; None takes all.
    subset : str or None
        None insists on the published 2000 clips; "listed" takes what the table lists, whatever its number;
        "present" takes of those the clips that are there.
    check_audio : bool
        False leaves out clips that cannot be read, instead of raising.

    Raises
    ------
    tinyclap.errors.DataLayoutError
        Lists everything that is wrong with the folder.
    tinyclap.errors.ConfigError
        An option has no such value.
    """
    common.check_choice("subset", subset, common.SUBSETS)
    folds = common.check_folds(folds, FOLDS)
    preparation = common.Preparation(CORPUS, __file__, data_folder, "ESC-50-master", TABLE)
    options = {"folds": folds, "subset": subset, "check_audio": check_audio}
    if preparation.unchanged(manifest_folder, split, options, [TABLE], ["audio"]):
        return
    preparation.require_tree([TABLE, "audio"])
    table = preparation.read_table(TABLE, COLUMNS)
    rows = {
        Path(row["filename"]).stem: {
            "path": preparation.root / "audio" / row["filename"],
            "label": row["category"],
            "fold": int(row["fold"]),
            "freesound_id": row["src_file"],
            "group": row["src_file"],
        }
        for row in table
        if row["fold"] in map(str, folds)
    }
    items = preparation.build_items(rows, subset, check_audio, _table_problems(table, subset))
    listed = {row["category"] for row in table}
    preparation.write(items, [name for name in CLASSES if name in listed])


def _table_problems(table, subset):
    """What contradicts the published table."""
    problems = []
    for row in table:
        if dict(enumerate(CLASSES)).get(int(row["target"]) if row["target"].isdigit() else -1) != row["category"]:
            problems.append(f"{TABLE}: {row['filename']} has target {row['target']} and category {row['category']}")
        if row["fold"] not in map(str, FOLDS):
            problems.append(f"{TABLE}: {row['filename']} has fold {row['fold']}, not 1 to 5")
    if len({row["filename"] for row in table}) != len(table):
        problems.append(f"{TABLE} lists a file twice")
    if subset is not None:
        return problems
    problems += common.count_problems(f"clips in {TABLE}", len(table), N_PER_CLASS_AND_FOLD * len(FOLDS) * len(CLASSES))
    found = Counter((row["category"], row["fold"]) for row in table)
    counts = {name: [found[name, str(fold)] for fold in FOLDS] for name in CLASSES}
    missing = [name for name in CLASSES if not any(counts[name])]
    if missing:
        problems.append(f"{TABLE}: {len(missing)} class(es) missing: {', '.join(missing)}")
    uneven = {name: row for name, row in counts.items() if any(row) and set(row) != {N_PER_CLASS_AND_FOLD}}
    lines = [
        f"{TABLE}: class {name} has {row} clips in the folds, published are 8 in each" for name, row in uneven.items()
    ]
    return problems + common.abridged(lines, "classes have other counts")


if __name__ == "__main__":
    sys.exit(cli.run(prepare_esc50))

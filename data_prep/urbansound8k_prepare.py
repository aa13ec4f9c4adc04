"""UrbanSound8K: 8732 slices of up to 4 s from Freesound recordings, ten classes, ten folds.

Source: J. Salamon, C. Jacoby, J. P. Bello, "A Dataset and Taxonomy for Urban Sound Research", ACM Multimedia
2014; layout from the corpus' table and README; md5 from the official tinyCLAP code.
"""

import sys
from collections import Counter
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from data_prep import cli, common

CORPUS = common.Corpus(
    dataset="urbansound8k",
    title="UrbanSound8K",
    version="1.0",
    page="https://zenodo.org/records/1203745",
    licence="CC BY-NC 3.0",
    tree="""
UrbanSound8K/
  audio/fold1 … fold10/{fsID}-{classID}-{occurrence}-{slice}.wav   8732 slices of up to 4 s
  metadata/UrbanSound8K.csv   slice_file_name,fsID,start,end,salience,fold,classID,class
""",
)
CHECKSUMS = {"UrbanSound8K.tar.gz": "9aa69802bbf37fb986f71ec1483a196e"}
TABLE = "metadata/UrbanSound8K.csv"
COLUMNS = ("slice_file_name", "fsID", "fold", "classID", "class")
N_IN_FOLD = {1: 873, 2: 888, 3: 925, 4: 990, 5: 936, 6: 823, 7: 838, 8: 806, 9: 816, 10: 837}
# The position of a class is its `classID`.
CLASSES = (
    *("air_conditioner", "car_horn", "children_playing", "dog_bark", "drilling"),
    *("engine_idling", "gun_shot", "jackhammer", "siren", "street_music"),
)


def prepare_urbansound8k(
    data_folder: str,
    manifest_folder: str,
    split: str = "test",
    folds: list[int] | None = None,
    subset: str | None = None,
    check_audio: bool = True,
    archives: str | None = None,
) -> None:
    """Write the manifest ``urbansound8k_<split>.json``.

    Arguments
    ---------
    data_folder : str
        ``UrbanSound8K``, or the folder that has it.
    manifest_folder : str
        Where the manifest goes.
    split : str
        Name of the manifest, such as train or test.
    folds : list of int or None
        Of 1 to 10; None takes all.
    subset : str or None
        None insists on the published 8732 slices in the table; "listed" takes what the table lists, whatever its
        number; "present" takes of those the slices that are there.
    check_audio : bool
        False leaves out slices that cannot be read, instead of raising.
    archives : str or None
        Folder of the downloaded archive, to verify its md5.

    Raises
    ------
    tinyclap.errors.DataLayoutError
        Lists everything that is wrong with the folder.
    tinyclap.errors.ConfigError
        An option has no such value.

    Notes
    -----
    Five Freesound recordings or more have slices in two of the published folds: `group` tells them.
    """
    common.check_choice("subset", subset, common.SUBSETS)
    folds_are_named = folds is not None
    folds = common.check_folds(folds, tuple(N_IN_FOLD))
    if archives is not None:
        common.verify_archives(CORPUS, archives, CHECKSUMS)
    preparation = common.Preparation(CORPUS, __file__, data_folder, "UrbanSound8K", TABLE)
    options = {"folds": folds, "subset": subset, "check_audio": check_audio}
    folders = [f"audio/fold{fold}" for fold in folds]
    if subset is not None and not folds_are_named:  # a part of the corpus: the folds that are there
        folders = [folder for folder in folders if (preparation.root / folder).is_dir()]
    if preparation.unchanged(manifest_folder, split, options, [TABLE], folders):
        return
    preparation.require_tree([TABLE, *folders])
    table = preparation.read_table(TABLE, COLUMNS)
    rows = {
        Path(row["slice_file_name"]).stem: {
            "path": preparation.root / f"audio/fold{row['fold']}" / row["slice_file_name"],
            "label": row["class"],
            "fold": int(row["fold"]),
            "freesound_id": row["fsID"],
            "group": row["fsID"],
        }
        for row in table
        if row["fold"] in map(str, folds)
    }
    items = preparation.build_items(rows, subset, check_audio, _table_problems(table, subset))
    listed = {row["class"] for row in table}
    preparation.write(items, [name for name in CLASSES if name in listed])


def _table_problems(table, subset):
    """What contradicts the published table."""
    problems = []
    for row in table:
        if dict(enumerate(CLASSES)).get(int(row["classID"]) if row["classID"].isdigit() else -1) != row["class"]:
            problems.append(f"{TABLE}: {row['slice_file_name']} has classID {row['classID']} and class {row['class']}")
        if row["fold"] not in map(str, N_IN_FOLD):
            problems.append(f"{TABLE}: {row['slice_file_name']} has fold {row['fold']}, not 1 to 10")
    if len({row["slice_file_name"] for row in table}) != len(table):
        problems.append(f"{TABLE} lists a file twice")
    if subset is not None:
        return problems
    problems += common.count_problems(f"slices in {TABLE}", len(table), sum(N_IN_FOLD.values()))
    found = Counter(row["fold"] for row in table)
    for fold, n_published in N_IN_FOLD.items():
        if found[str(fold)] != n_published:
            problems.append(f"{TABLE}: fold {fold} has {found[str(fold)]} slices, published are {n_published}")
    missing = [name for name in CLASSES if name not in {row["class"] for row in table}]
    if missing:
        problems.append(f"{TABLE}: {len(missing)} class(es) missing: {', '.join(missing)}")
    return problems


if __name__ == "__main__":
    sys.exit(cli.run(prepare_urbansound8k))

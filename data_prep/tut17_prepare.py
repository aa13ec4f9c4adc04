"""TUT Acoustic Scenes 2017: ten-second binaural recordings of fifteen places.

Source: A. Mesaros, T. Heittola, T. Virtanen, "TUT Database for Acoustic Scene Classification and Sound Event
Detection", EUSIPCO 2016, and the DCASE 2017 challenge; layout from its baseline system; md5 from dcase_util (MIT).
"""

import sys
from pathlib import Path, PurePosixPath

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from data_prep import cli, common
from tinyclap.errors import ConfigError

CORPUS = common.Corpus(
    dataset="tut17",
    title="TUT Acoustic Scenes 2017",
    version="2017",
    page="https://zenodo.org/records/400515 (development), https://zenodo.org/records/1040168 (evaluation)",
    licence="TUT, non-commercial use",
    tree="""
TUT-acoustic-scenes-2017-development/
  audio/{location}_{start}_{end}.wav                4680 segments of 10 s, 24 bit, stereo
  meta.txt                                          path, label, location; tabs, no header
  evaluation_setup/fold{1..4}_{train,evaluate}.txt  path, label; tabs, no header
TUT-acoustic-scenes-2017-evaluation/
  audio/{number}.wav                                1620 segments
  evaluation_setup/evaluate.txt                     path, label; tabs, no header
  evaluation_setup/map.txt                          original name, number
""",
)
FOLDERS = {name: f"TUT-acoustic-scenes-2017-{name}" for name in ("development", "evaluation")}
LISTS = {"development": "meta.txt", "evaluation": "evaluation_setup/evaluate.txt"}
N_PER_CLASS = {"development": 312, "evaluation": 108}
FOLDS = (1, 2, 3, 4)
CLASSES = (
    *("beach", "bus", "cafe/restaurant", "car", "city_center", "forest_path", "grocery_store", "home"),
    *("library", "metro_station", "office", "park", "residential_area", "train", "tram"),
)
_MD5 = {
    "development.meta": "9007fd4772d816590c5db5f5e9568f5d",
    "development.error": "802c700b021769e52a2c1e3b9c117a1b",
    "development.audio.1": "251325a9afaaad0326ad1c57f57d514a",
    "development.audio.2": "c26861e05147dc319b4250eb103d9d99",
    "development.audio.3": "a4815775f8a5e629179726ee4cd4f55a",
    "development.audio.4": "1732b03afe8c53ef8bba80ba14766e57",
    "development.audio.5": "611be754a0c951185c6ae4b7643c19a0",
    "development.audio.6": "165a201db800d3ea76fce5a9c2bd97d7",
    "development.audio.7": "c7d79db84264401c0f8680dcc36013ad",
    "development.audio.8": "35043f25123439392338c790494c7a19",
    "development.audio.9": "0805dcf5d8e6871dc9610182b2efb93a",
    "development.audio.10": "5df83a191295a04e290b125c634e13e7",
    "evaluation.meta": "e006cfec14a49dd79a6ab8f8d5b1c5e6",
    "evaluation.audio.1": "5d97dea8461baec8027ae4a0c2b18d4b",
    "evaluation.audio.2": "4085ef5fa286f2169074993a4e405953",
    "evaluation.audio.3": "cac432579e7cf2dff0aec7aaed248956",
    "evaluation.audio.4": "664bf09c3d24bd26c6b587f1d709de36",
}
CHECKSUMS = {f"TUT-acoustic-scenes-2017-{name}.zip": md5 for name, md5 in _MD5.items()}


def prepare_tut17(
    data_folder: str,
    manifest_folder: str,
    split: str = "test",
    part: str = "evaluation",
    fold: int | None = None,
    fold_part: str = "evaluate",
    subset: str | None = None,
    check_audio: bool = True,
    archives: str | None = None,
) -> None:
    """Write the manifest ``tut17_<split>.json``.

    Arguments
    ---------
    data_folder : str
        The folder that has ``TUT-acoustic-scenes-2017-development`` or ``-evaluation`` as published, or one of them.
    manifest_folder : str
        Where the manifest goes.
    split : str
        Name of the manifest.
    part : str
        "evaluation" (what published accuracies are of), "development" or "both".
    fold : int or None
        Of the development part, 1 to 4; None takes the whole part.
    fold_part : str
        "evaluate" or "train": which side of the fold.
    subset : str or None
        None insists on the published counts; "listed" takes what the lists have, whatever its number; "present" takes
        of those the segments that are there.
    check_audio : bool
        False leaves out segments that cannot be read, instead of raising.
    archives : str or None
        Folder of the downloaded archives, to verify their md5.

    Raises
    ------
    tinyclap.errors.DataLayoutError
        Lists everything that is wrong with the folder.
    tinyclap.errors.ConfigError
        An option has no such value.

    Notes
    -----
    An item's `fold` is the development fold in which it is evaluated; its `group` is the place it was recorded at.
    """
    common.check_choice("part", part, ("evaluation", "development", "both"))
    common.check_choice("fold", fold, (None, *FOLDS))
    common.check_choice("fold_part", fold_part, ("evaluate", "train"))
    common.check_choice("subset", subset, common.SUBSETS)
    if fold is not None and part != "development":
        raise ConfigError(f"fold is {fold}, but only the development part has folds; set part to 'development'")
    if archives is not None:
        common.verify_archives(CORPUS, archives, CHECKSUMS)
    preparation = common.Preparation(CORPUS, __file__, data_folder, ".", ".")
    names = ("development", "evaluation") if part == "both" else (part,)
    places = {name: _place(preparation.root, name) for name in names}
    tables = [f"{places[name]}{table}" for name in names for table in _tables(name, fold, fold_part)]
    folders = [f"{place}audio" for place in places.values()]
    options = {"part": part, "fold": fold, "fold_part": fold_part, "subset": subset, "check_audio": check_audio}
    if preparation.unchanged(manifest_folder, split, options, tables, folders):
        return
    preparation.require_tree([*tables, *folders])
    rows, problems = {}, []
    for name, place in places.items():
        problems += _add_rows(rows, preparation, name, place, fold, fold_part, subset)
    items = preparation.build_items(rows, subset, check_audio, problems)
    preparation.write(items, CLASSES)


def _place(root, name):
    """Prefix of the paths of a part: its published folder, or nothing where that folder itself was given."""
    return f"{FOLDERS[name]}/" if (root / FOLDERS[name]).is_dir() or not (root / LISTS[name]).is_file() else ""


def _tables(name, fold, fold_part):
    """Lists that a part needs."""
    if name == "evaluation":
        return [LISTS[name]]
    folds = [f"evaluation_setup/fold{number}_evaluate.txt" for number in FOLDS]
    chosen = f"evaluation_setup/fold{fold}_{fold_part}.txt"
    return [LISTS[name], *folds, *([chosen] if fold is not None and chosen not in folds else [])]


def _read_list(path):
    """Rows of a published list, whose cells are parted by tabs; a header that a user added is left out."""
    rows = [line.split("\t") for line in common.read_text(path).splitlines() if line.strip()]
    return rows[1:] if rows and rows[0][0].strip().lower() in ("filename", "file_name", "path") else rows


def _add_rows(rows, preparation, name, place, fold, fold_part, subset):
    """Add the rows of one part; returns what contradicts the published lists."""
    folder = preparation.root / place
    listed = _read_list(folder / LISTS[name])
    problems = [f"{place}{LISTS[name]}: line without a label: {' '.join(row)}" for row in listed if len(row) < 2]
    listed = [row for row in listed if len(row) >= 2]
    if subset is None:
        problems += common.count_problems(f"segments in {place}{LISTS[name]}", len(listed), 15 * N_PER_CLASS[name])
        labels = {row[1].strip() for row in listed}
        missing = [label for label in CLASSES if label not in labels]
        problems += [f"{place}{LISTS[name]}: class missing: {label}" for label in missing]
    unknown = sorted({row[1].strip() for row in listed} - set(CLASSES))
    problems += [f"{place}{LISTS[name]}: unknown class {label}" for label in unknown]
    fold_of = {}
    if name == "development":
        for number in FOLDS:
            for row in _read_list(folder / f"evaluation_setup/fold{number}_evaluate.txt"):
                if fold_of.setdefault(row[0].strip(), number) != number:
                    problems.append(f"{row[0].strip()} is evaluated in folds {fold_of[row[0].strip()]} and {number}")
    locations = _locations(folder) if name == "evaluation" else {}
    chosen = None
    if fold is not None:
        chosen = {row[0].strip() for row in _read_list(folder / f"evaluation_setup/fold{fold}_{fold_part}.txt")}
        problems += [
            f"fold {fold}: {path} is not in meta.txt" for path in sorted(chosen - {row[0].strip() for row in listed})
        ]
    for path, label, *more in ([cell.strip() for cell in row] for row in listed):
        if chosen is None or path in chosen:
            stem = PurePosixPath(path).stem
            group = (more[0] if more else None) or locations.get(stem) or (stem.split("_")[0] if "_" in stem else None)
            facts = {"label": label, "fold": fold_of.get(path), "group": group}
            if rows.setdefault(f"{name}/{stem}", {"path": folder / path, **facts})["label"] != label:
                problems.append(f"{place}{LISTS[name]} lists {path} with two labels")
    return problems


def _locations(folder):
    """Stem of a segment's published number to its place, from ``map.txt`` where it is there."""
    path = folder / "evaluation_setup/map.txt"
    pairs = _read_list(path) if path.is_file() else []
    names = [[PurePosixPath(cell.strip()).stem for cell in row[:2]] for row in pairs if len(row) >= 2]
    # Which of the two columns has the numbers is read off the names: an original name has its place before a `_`.
    return {
        ordinal: original.split("_")[0] for row in names for original, ordinal in (row, row[::-1]) if "_" in original
    }


if __name__ == "__main__":
    sys.exit(cli.run(prepare_tut17))

"""A corpus of one's own to score a model on: a folder of recordings and a table of their labels.

Source: the user's own recordings and labels.
"""

import csv
import io
import os
import sys
from collections import Counter
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from data_prep import cli, common
from data_prep.audio_folder_prepare import readable_recordings
from tinyclap.errors import ConfigError

CORPUS = common.Corpus(
    dataset="folder",
    title="A folder of labelled recordings",
    version="1",
    page="your own",
    licence="each recording's own",
    tree="""
{data_folder}/
  **/*.wav, .flac, .ogg, .opus, .mp3, .aif, …     recordings, in any subfolder that is not hidden
  labels.csv                                      file,label and, if known, group,fold; here or anywhere else
or, without a table, one subfolder for each label: {data_folder}/{label}/*.wav
""",
)
FILE_COLUMNS = ("file", "filename", "file_name", "fname", "path", "file_path", "filepath", "wav", "audio", "recording")
LABEL_COLUMNS = ("label", "class", "category", "class_name", "class_label", "scene_label")
_SEPARATORS = (",", ";", "\t")


def prepare_folder(
    data_folder: str,
    manifest_folder: str,
    split: str = "test",
    table: str | None = None,
    file_column: str | None = None,
    label_column: str | None = None,
    check_audio: bool = True,
) -> None:
    """Write the manifest ``folder_<split>.json``.

    Arguments
    ---------
    data_folder : str
        The folder of recordings.
    manifest_folder : str
        Where the manifest goes.
    split : str
        Ends the manifest's name.
    table : str or None
        A CSV (UTF-8, separated by commas, semicolons or tabs) with a row for each recording to score; a path, or a name
        inside the folder. None: the name of a recording's subfolder is its label.
    file_column : str or None
        The column of file names, relative to the folder; a bare name is found in any subfolder. None: one of the usual
        names (file, filename, path …).
    label_column : str or None
        The column of labels. None: one of the usual names (label, class, category …).
    check_audio : bool
        False leaves out recordings that cannot be read, instead of raising.

    Raises
    ------
    tinyclap.errors.DataLayoutError
        Lists everything that is wrong with the folder and its table.
    tinyclap.errors.ConfigError
        An option has no such value.

    Notes
    -----
    A column ``group`` names the recording session or place that several files share, for intervals over these; a column
    ``fold`` gives scores of each fold.
    """
    preparation = common.Preparation(CORPUS, __file__, data_folder, ".", ".")
    preparation.require_tree(["."])
    found = readable_recordings(preparation)
    folders = sorted({path.parent.relative_to(preparation.root).as_posix() for path in found})
    path = None if table is None else _table_path(preparation, table)
    options = {"table": path and str(table), "file_column": file_column, "label_column": label_column}
    options["check_audio"] = check_audio
    if preparation.unchanged(manifest_folder, split, options, [str(path)] if path else [], folders):
        return
    if path is None:
        rows, problems = _rows_of_subfolders(preparation, found)
    else:
        rows, problems = _rows_of_table(preparation, found, path, file_column, label_column)
    labels = sorted({row["label"] for row in rows.values()})
    twins = [names for names in _by_key(labels, str.casefold).values() if len(names) > 1]
    problems += [f"labels that differ in capitals alone: {', '.join(names)}" for names in twins]
    if not problems and len(labels) < 2:
        problems.append(f"{len(labels)} label(s) in {len(rows)} recordings; a score needs two or more to tell apart")
    items = preparation.build_items(rows, None, check_audio, problems)
    preparation.write(items, labels, n_without_label=len(found) - len(rows))


def _table_path(preparation, table):
    """The table: a path as given, or a name inside the folder."""
    places = [Path(table).expanduser().absolute(), preparation.root / table]
    places = [place for place in dict.fromkeys(map(os.path.normpath, places)) if os.path.isfile(place)]
    if not places:
        raise preparation.error([f"there is no table {table}, neither at that path nor in the folder"])
    if len(places) > 1:
        raise ConfigError(f"there are two tables, {' and '.join(places)}; give the whole path of one")
    return Path(places[0])


def _rows_of_subfolders(preparation, found):
    """(rows by id, problems) of recordings whose labels are the names of their subfolders."""
    rows, problems = {}, [] if found else ["there is no recording in it"]
    for path in found:
        name = path.relative_to(preparation.root)
        if len(name.parts) < 2:
            problems.append(
                f"{name} is in no subfolder, so it has no label; give a table of labels (table), or move it"
            )
        else:
            rows[name.as_posix()] = {"path": path, "label": name.parts[0]}
    return rows, common.abridged(problems, "recordings have no label")


def _rows_of_table(preparation, found, path, file_column, label_column):
    """(rows by id, problems) of the recordings that a table lists."""
    header, cells = _read_table(preparation, path)
    columns = {
        "file": _column(preparation, path, header, file_column, FILE_COLUMNS, "file names", "file_column"),
        "label": _column(preparation, path, header, label_column, LABEL_COLUMNS, "labels", "label_column"),
    }
    columns |= {name: header.index(name) for name in ("group", "fold") if name in header}
    by_name = _by_key(found, lambda recording: recording.name)
    rows, problems, first = {}, [], {}
    for number, row in cells:
        if len(row) != len(header):
            problems.append(f"{path.name}: row {number} has {len(row)} cells, its header {len(header)}")
            continue
        facts = {name: row[place].strip() or None for name, place in columns.items()}
        name, label = facts.pop("file"), facts["label"]
        if not name or not label:
            problems.append(f"{path.name}: row {number} has no {'label' if name else 'file name'}")
            continue
        recording, problem = _recording(preparation, name, by_name)
        key = recording and Path(os.path.relpath(recording, preparation.root)).as_posix()
        if problem or key in first:
            again = f"lists {name} again, after row {first.get(key)} ({rows.get(key, {}).get('label')})"
            problems.append(f"{path.name}: row {number} {problem or again}")
            continue
        rows[key], first[key] = {"path": recording, **facts}, number
    folds = [row["fold"] for row in rows.values() if row.get("fold")]
    if all(fold.isdecimal() for fold in folds):
        rows = {key: {**row, "fold": int(row["fold"]) if row.get("fold") else None} for key, row in rows.items()}
    if not cells:
        problems.append(f"{path.name} has no row beside its header")
    return rows, common.abridged(problems, "rows are wrong")


def _recording(preparation, name, by_name):
    """(path, None) of the recording that a table names, or (None, what is wrong)."""
    for given in dict.fromkeys((name, name.replace("\\", "/"))):
        path = Path(os.path.normpath(preparation.root / given))
        if path.is_file():
            inside = path.is_relative_to(preparation.root)
            return (path, None) if inside else (None, f"names {name}, which is outside of the folder")
        same = by_name.get(given, [])
        if len(same) == 1:
            return same[0], None
        if same:
            places = ", ".join(path.relative_to(preparation.root).as_posix() for path in same[:3])
            return None, f"names {name}, of which there are {len(same)}: {places}; write the subfolder too"
    return None, f"names {name}, which is not in the folder"


def _read_table(preparation, path):
    """(header in lower case, [(row number, cells)]) of a table; rows of empty cells are left out."""
    content = path.read_bytes()
    is_utf16 = content[:2] in (b"\xff\xfe", b"\xfe\xff")
    if b"\0" in content and not is_utf16:
        raise preparation.error([f"{path.name} is no text: save it as CSV (UTF-8)"])
    try:
        text = content.decode("utf-16") if is_utf16 else common.read_text(path)
        text = text.partition("\n")[2] if text.startswith("sep=") else text  # a hint for Excel
        options = {"skipinitialspace": True}
        tables = [list(csv.reader(io.StringIO(text, newline=""), delimiter=sign, **options)) for sign in _SEPARATORS]
    except (UnicodeDecodeError, csv.Error) as error:
        raise preparation.error([f"{path.name} is no CSV table ({error})"]) from error
    if not any(map(any, tables[0])):
        raise preparation.error([f"{path.name} is empty"])
    rows = max(tables, key=lambda rows: len(rows[0]) if rows else 0)
    header = [cell.strip().lower().replace(" ", "_") for cell in rows[0]]
    twice = [name for name, count in Counter(header).items() if name and count > 1]
    if twice:
        raise preparation.error([f"{path.name} has two columns {', '.join(twice)}"])
    return header, [(number, row) for number, row in enumerate(rows[1:], 2) if any(cell.strip() for cell in row)]


def _column(preparation, path, header, given, usual, what, option):
    """The place of a column in the header."""
    names = usual if given is None else (given.strip().lower().replace(" ", "_"),)
    place = next((header.index(name) for name in names if name in header), None)
    if place is None:
        wanted = "such as " + " or ".join(usual[:2]) if given is None else f"{given}"
        raise preparation.error(
            [
                f"{path.name} has no column of {what} ({wanted}); the first row names the columns, here: "
                f"{', '.join(header)}. Rename one, or say which it is by {option}"
            ]
        )
    return place


def _by_key(values, key):
    """Lists of the values that share a key."""
    groups = {}
    for value in values:
        groups.setdefault(key(value), []).append(value)
    return groups


if __name__ == "__main__":
    sys.exit(cli.run(prepare_folder))

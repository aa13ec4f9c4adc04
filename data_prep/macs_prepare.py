"""MACS: recordings of airports, parks and squares, each described by two to five annotators.

Source: I. Martín-Morató, A. Mesaros, "Diversity and Bias in Audio Captioning Datasets", DCASE Workshop 2021; layout
and md5 from Labbeti/aac-datasets (MIT). The audio is that of TAU Urban Acoustic Scenes 2019, development set.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import yaml

from data_prep import cli, common

CORPUS = common.Corpus(
    dataset="macs",
    title="MACS",
    version="1",
    page="https://zenodo.org/records/5114771 (captions), https://zenodo.org/records/2589280 (audio)",
    licence="captions: Tampere University, non-commercial; audio: TAU, non-commercial",
    tree="""
MACS/
  MACS.yaml    files: - filename, annotations: - annotator_id, sentence, tags
  audio/{scene}-{city}-{location}-{segment}-a.wav   (also: TAU-urban-acoustic-scenes-2019-development/audio/)
""",
)
TABLE = "MACS.yaml"
AUDIO_FOLDERS = ("audio", "TAU-urban-acoustic-scenes-2019-development/audio")
N_CLIPS = 3930
_AUDIO_MD5 = (
    *("aca4ebfd9ed03d5f747d6ba8c24bc728", "c4f170408ce77c8c70c532bf268d7be0", "c7214a07211f10f3250290d05e72c37e"),
    *("a6a62110f6699cf4432072acb1dffda6", "091a0b6d3c84b8e60e46940aa7d4a8a0", "114f4ca13e074391b98a1cfd8140de65"),
    *("5951dd2968f7a514e2afbe279c4f060d", "b0b63dc95b327e1509857c8d8a663cc3", "3c32a693a6b111ffb957be3c1dd22e9b"),
    *("0ffbf60006da520cc761fb74c878b98b", "599055d93b4c11057c29be2df54538d4", "98b8d162ff3665695c4c910e6c372cc8"),
    *("a356c08b1a5a21d433eba37ef87587f4", "f8969771e7faf7dd471d1cf78b0cf011", "4758c4b0fb7484faa632266e78850820"),
    *("a18acad9ede8ea76574216feb887f0bc", "1af7703484632f340da5c33662dc9632", "b67402bf3e08f4da394a7c18756c0fd2"),
    *("035db315f19106eb848b6f9b32bcc47c", "9cb28c74911bf8a3eadcf53f50a5b5d6", "0e44ed85c88ec036a9725b4dd1dfaea0"),
)
CHECKSUMS = {
    TABLE: "23fcb2ebd0b109094034ef9e87972256",
    "MACS_competence.csv": "4dfe9f951f0af9f29cb7952ec030370a",
    **{
        f"TAU-urban-acoustic-scenes-2019-development.audio.{number}.zip": md5
        for number, md5 in enumerate(_AUDIO_MD5, 1)
    },
}


def prepare_macs(
    data_folder: str,
    manifest_folder: str,
    split: str = "train",
    subset: str | None = None,
    check_audio: bool = True,
    archives: str | None = None,
) -> None:
    """Write the manifest ``macs_<split>.json`` of all clips: the corpus has no splits of its own.

    Arguments
    ---------
    data_folder : str
        The folder with ``MACS.yaml`` and the audio, or the one that has it as ``MACS``.
    manifest_folder : str
        Where the manifest goes.
    split : str
        Name of the manifest.
    subset : str or None
        None insists on the published count; "listed" takes what the table lists, whatever its number; "present" takes
        of those the clips that are there.
    check_audio : bool
        False leaves out clips that cannot be read, instead of raising.
    archives : str or None
        Folder of the downloaded files, to verify their md5.

    Raises
    ------
    tinyclap.errors.DataLayoutError
        Lists everything that is wrong with the folder.
    tinyclap.errors.ConfigError
        An option has no such value.

    Notes
    -----
    An item's `group` is the city and location of its recording, which several clips share.
    """
    common.check_choice("subset", subset, common.SUBSETS)
    if archives is not None:
        common.verify_archives(CORPUS, archives, CHECKSUMS)
    preparation = common.Preparation(CORPUS, __file__, data_folder, "MACS", TABLE)
    folder = next((name for name in AUDIO_FOLDERS if (preparation.root / name).is_dir()), AUDIO_FOLDERS[0])
    if preparation.unchanged(manifest_folder, split, {"subset": subset, "check_audio": check_audio}, [TABLE], [folder]):
        return
    preparation.require_tree([TABLE, folder])
    files = _read_annotations(preparation)
    problems = common.count_problems(f"clips in {TABLE}", len(files), N_CLIPS) if subset is None else []
    rows = {}
    for file in files:
        name = file["filename"]
        captions = [" ".join(note.get("sentence", "").split()) for note in file["annotations"]]
        if not captions or not all(captions):
            problems.append(f"{TABLE}: {name} has an empty caption, or none")
        if Path(name).stem in rows:
            problems.append(f"{TABLE} lists {name} twice")
        group = "-".join(Path(name).stem.split("-")[1:3]) or None
        rows[Path(name).stem] = {"path": preparation.root / folder / name, "captions": captions, "group": group}
    preparation.write(preparation.build_items(rows, subset, check_audio, problems))


def _read_annotations(preparation):
    """The list of files in the YAML table, checked as far as its form; all scalars are text, as they are written."""
    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # others read the captions "yes" and "1.0" as values
    try:
        content = yaml.load(common.read_text(preparation.root / TABLE), Loader=loader)
    except yaml.YAMLError as error:
        raise preparation.error([f"{TABLE} is not readable YAML: {error}"]) from error
    files = content.get("files") if isinstance(content, dict) else None
    if not isinstance(files, list) or not files:
        raise preparation.error([f"{TABLE} has no list `files`"])
    wrong = [
        f"{TABLE}: entry {number} lacks filename or annotations with a sentence each"
        for number, file in enumerate(files, 1)
        if not isinstance(file, dict) or not isinstance(file.get("filename"), str) or not _are_notes(file)
    ]
    if wrong:
        raise preparation.error(wrong)
    return files


def _are_notes(file):
    """Whether the annotations of a file have a sentence each."""
    notes = file.get("annotations")
    return isinstance(notes, list) and all(
        isinstance(note, dict) and isinstance(note.get("sentence", ""), str) for note in notes
    )


if __name__ == "__main__":
    sys.exit(cli.run(prepare_macs))

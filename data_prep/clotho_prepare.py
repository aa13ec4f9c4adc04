"""Clotho v2.1: Freesound recordings of 15 to 30 s with five captions each.

Source: K. Drossos, S. Lipping, T. Virtanen, "Clotho: an Audio Captioning Dataset", ICASSP 2020; layout and md5 from
Labbeti/aac-datasets (MIT).
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from data_prep import cli, common

CORPUS = common.Corpus(
    dataset="clotho",
    title="Clotho",
    version="2.1",
    page="https://zenodo.org/records/4783391",
    licence="captions: Tampere University, non-commercial; audio: each file's own (clotho_metadata_*.csv)",
    tree="""
clotho/
  {development,validation,evaluation}/{file_name}                  3839, 1045, 1045 clips of 15 to 30 s
  clotho_captions_{development,validation,evaluation}.csv          file_name,caption_1,…,caption_5
  clotho_metadata_{development,validation,evaluation}.csv          file_name,keywords,sound_id,…,license
""",
)
N_CLIPS = {"development": 3839, "validation": 1045, "evaluation": 1045}
CAPTIONS = tuple(f"caption_{number}" for number in range(1, 6))
CHECKSUMS = {
    "clotho_audio_development.7z": "c8b05bc7acdb13895bb3c6a29608667e",
    "clotho_audio_evaluation.7z": "4569624ccadf96223f19cb59fe4f849f",
    "clotho_audio_validation.7z": "7dba730be08bada48bd15dc4e668df59",
    "clotho_captions_development.csv": "d4090b39ce9f2491908eebf4d5b09bae",
    "clotho_captions_evaluation.csv": "1b16b9e57cf7bdb7f13a13802aeb57e2",
    "clotho_captions_validation.csv": "5879e023032b22a2c930aaa0528bead4",
    "clotho_metadata_development.csv": "170d20935ecfdf161ce1bb154118cda5",
    "clotho_metadata_evaluation.csv": "13946f054d4e1bf48079813aac61bf77",
    "clotho_metadata_validation.csv": "2e010427c56b1ce6008b0f03f41048ce",
}


def prepare_clotho(
    data_folder: str,
    manifest_folder: str,
    split: str = "evaluation",
    subset: str | None = None,
    check_audio: bool = True,
    archives: str | None = None,
) -> None:
    """Write the manifest ``clotho_<split>.json``.

    Arguments
    ---------
    data_folder : str
        The folder with the tables and the unpacked archives, or the one that has it as ``clotho``.
    manifest_folder : str
        Where the manifest goes.
    split : str
        development, validation or evaluation.
    subset : str or None
        None insists on the published counts and on the metadata table; "listed" takes what the captions' table lists;
        "present" takes of those the clips that are there.
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
    File names repeat across splits: an item's id has its split before the name. A clip whose metadata is missing, or
    says "Not found", has no `freesound_id`; `_meta` counts these as ``n_without_freesound_id``.
    """
    common.check_choice("split", split, tuple(N_CLIPS))
    common.check_choice("subset", subset, common.SUBSETS)
    if archives is not None:
        common.verify_archives(CORPUS, archives, CHECKSUMS)
    captions, metadata = f"clotho_captions_{split}.csv", f"clotho_metadata_{split}.csv"
    preparation = common.Preparation(CORPUS, __file__, data_folder, "clotho", captions)
    options = {"subset": subset, "check_audio": check_audio}
    if preparation.unchanged(manifest_folder, split, options, [captions, metadata], [split]):
        return
    preparation.require_tree([captions, split, *([metadata] if subset is None else [])])
    table = preparation.read_table(captions, ("file_name",))
    columns = [name for name in table[0] if name.startswith("caption")] if table else list(CAPTIONS)
    if sorted(columns) != sorted(CAPTIONS):
        found = f"{len(columns)} columns of captions ({', '.join(columns)})"
        raise preparation.error([f"{captions} has {found}; published are {len(CAPTIONS)}: {', '.join(CAPTIONS)}"])
    problems = common.count_problems(f"clips in {captions}", len(table), N_CLIPS[split]) if subset is None else []
    if len({row["file_name"] for row in table}) != len(table):
        problems.append(f"{captions} lists a file twice")
    sound_ids = _sound_ids(preparation, metadata)
    rows = {}
    for row in table:
        sentences = [" ".join(row[name].split()) for name in CAPTIONS]
        empty = [name for name in CAPTIONS if not any(map(str.isalnum, row[name]))]
        problems += [f"{captions}: {row['file_name']} has an empty caption ({', '.join(empty)})"] * bool(empty)
        sound_id = sound_ids.get(row["file_name"].strip())
        facts = {"captions": sentences, "freesound_id": sound_id, "group": sound_id}
        rows[f"{split}/{row['file_name']}"] = {"path": preparation.root / split / row["file_name"], **facts}
    items = preparation.build_items(rows, subset, check_audio, problems)
    preparation.write(items, n_without_freesound_id=sum("freesound_id" not in item for item in items.values()))


def _sound_ids(preparation, metadata):
    """File name to Freesound id, as far as the metadata table knows."""
    if not (preparation.root / metadata).is_file():
        common.LOGGER.warning("%s: %s is missing, so there are no Freesound ids", CORPUS.title, metadata)
        return {}
    table = preparation.read_table(metadata, ("file_name", "sound_id"))
    return {row["file_name"].strip(): row["sound_id"].strip() for row in table if row["sound_id"].strip().isdigit()}


if __name__ == "__main__":
    sys.exit(cli.run(prepare_clotho))

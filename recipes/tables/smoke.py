"""Every row in a tiny form: the built-in corpus in the place of the corpora and weights that a person may not have.

``smoke.csv`` says for every recipe what it becomes: ``words`` that are always given, ``defaults`` for options that the
row has not got left, and ``drop``, the options that go (* for all). An option written ``?--kept_dims 16`` among the
words takes the place of the row's own and is not given where the row has none. What remains of a row are its own
switches, such as --alpha or --head. Lines with a row_id are trainings that other lines name, as {run:smoke_clap}.
"""

import csv
import shlex

from rows import HERE, NO_SEED, OURS, TYPED
from tasks import variables_of

from tinyclap.errors import ConfigError

COLUMNS = ("row_id", "recipe", "becomes", "words", "defaults", "drop")
SEED = "1234"
OPTION = ("--", "?--")
CHAIN = (("hparams", "overrides"), ("score", "score_overrides"))


def read_rules(path=HERE / "smoke.csv"):
    """(rules by recipe, helper rows by id)."""
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file, strict=True)
        lines = list(reader)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise ConfigError(f"{path}: its columns must be {', '.join(COLUMNS)}")
    helpers = {}
    for line in lines:
        if line["row_id"]:
            row = dict.fromkeys((*TYPED, *OURS), "")
            row |= {"row_id": line["row_id"], "title": "for the tiny forms", "seeds": SEED, "score": "none"}
            helpers[line["row_id"]] = row | {"hparams": line["becomes"], "overrides": line["words"]}
    return {line["recipe"]: line for line in lines if not line["row_id"]}, helpers


def smoke_rows(rows, chosen):
    """The tiny forms of all rows, and of the chosen ones.

    Arguments
    ---------
    rows : dict of str to dict
        All rows that the chosen ones may name.
    chosen : list of dict

    Returns
    -------
    (dict of str to dict, list of dict)
    """
    rules, helpers = read_rules()
    tiny = {row_id: tiny_row(row, rules) for row_id, row in rows.items()}
    return {**tiny, **helpers}, [tiny[row["row_id"]] for row in chosen]


def tiny_row(row, rules):
    """One row in its tiny form: same id, one seed, small recipes and words."""
    tiny = {**row, "hours": "", "disk_gb": ""}
    tiny["seeds"] = NO_SEED if row["seeds"] == NO_SEED else SEED
    for recipe_column, words_column in CHAIN:
        if row[recipe_column]:
            rule = _rule(rules, row[recipe_column], row)
            tiny[recipe_column] = rule["becomes"]
            tiny[words_column] = tiny_words(row[words_column], rule)
    for column, recipe in (("rank", "hparams/rank_latent.yaml"), ("prune", "prune.py")):
        if row[column]:
            tiny[column] = tiny_words(row[column], _rule(rules, recipe, row))
    return tiny


def _rule(rules, recipe, row):
    if recipe not in rules:
        raise ConfigError(f"smoke.csv says nothing of {recipe}, which the row {row['row_id']} uses; add a line")
    return rules[recipe]


def tiny_words(text, rule):
    """The words of a row under a rule of ``smoke.csv``.

    Example
    -------
    >>> rule = {"words": "--epochs 1", "defaults": "--weights {run:smoke_clap}", "drop": "--folds"}
    >>> tiny_words("--data {esc50} --folds '[5]' --alpha 1.5 --epochs 100", rule)
    "--alpha 1.5 --epochs 1 --weights '{run:smoke_clap}'"
    """
    dropped = rule["drop"].split()
    own = [] if "*" in dropped else groups_of(text)
    has = {group[0] for group in own}
    forced = [
        [group[0].removeprefix("?"), *group[1:]]
        for group in groups_of(rule["words"])
        if not group[0].startswith("?") or group[0][1:] in has
    ]
    names = {group[0] for group in forced} | set(dropped)
    kept = [group for group in own if group[0] not in names and not variables_of(group)]
    kept += forced
    there = {_name(group) for group in kept}
    kept += [group for group in groups_of(rule["defaults"]) if _name(group) not in there]
    return shlex.join(word for group in kept for word in group)


def _name(group):
    """The option of a group; words that stand alone have none."""
    return group[0] if group[0].startswith("--") else ""


def groups_of(text):
    """Words in groups: an option with its values, or a word that stands alone before all options."""
    groups = []
    for word in shlex.split(text):
        if word.startswith(OPTION) or not groups or not groups[-1][0].startswith(OPTION):
            groups.append([word])
        else:
            groups[-1].append(word)
    return groups

"""From rows to tasks: what has to run, in which order, and the hash that says whether it has run already.

A row is a chain train → rank → prune → score, of which only the last is always there. A task is known by a hash of its
script, its words and its seed, with placeholders for the folders of this machine and the hashes of the tasks it builds
on: the same on every machine. Rows that train the same thing share one task.
"""

import hashlib
import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

from rows import NO_SEED, ROOT

from tinyclap.errors import ConfigError

FOLDERS = ("esc50", "urbansound8k", "tut17", "clotho", "audiocaps", "macs", "fsd50k", "unlabelled")
WEIGHTS = (
    *("clap2022", "tinyclap_student", "mn04", "mn10", "effb2", "htsat_bart_audiocaps", "htsat_bart_clotho"),
    *("eac_audiocaps", "eac_clotho"),
)
# The placeholder's name → the environment variable that holds the folder or file.
VARIABLES = {
    **{name: f"{name.upper()}_FOLDER" for name in FOLDERS},
    **{f"{name}_weights": f"{name.upper()}_WEIGHTS" for name in WEIGHTS},
}
OWN = ("run", "ranking", "pruned")
# Only these names count, so that YAML maps such as {text: {weight: 1}} pass through. {run:ROW} is another row's run
# with the same seed, {run:ROW@1234} the one with seed 1234.
_ALONE = "|".join((*OWN, *VARIABLES, "seed", "soundscapes"))
_OF_ANOTHER = "|".join((*OWN, "score", "target_cache"))
PLACEHOLDER = re.compile(rf"\{{(?:({_ALONE})|({_OF_ANOTHER}):([\w.+-]+)(?:@(\d+))?)\}}")
KINDS = {"run": "train", "ranking": "rank", "pruned": "prune", "score": "score"}
RANKER = "hparams/rank_latent.yaml"


@dataclass
class Task:
    """One process to run.

    Arguments
    ---------
    kind : str
        train | rank | prune | score.
    row_id, seed : str
        Of the row that asked for it first.
    words : list of str
        Script, recipe and options, with placeholders.
    needs : dict of str to Task
        By placeholder: whose folders the words name.
    hash : str
        64 hex digits.
    folders : list of str
        Where it writes, within the output folder; a score that several rows share is copied to the further ones.
    hours, disk_gb : float
        What a person expects it to cost.
    caches : frozenset of str
        The target caches that it reads or makes.
    """

    kind: str
    row_id: str
    seed: str
    words: list
    needs: dict
    hash: str
    folders: list
    hours: float = 0.0
    disk_gb: float = 0.0
    caches: frozenset = field(default_factory=frozenset)

    @property
    def label(self):
        """For people: what and whose."""
        return f"{self.kind} {self.row_id}" + (f" seed {self.seed}" if self.seed != NO_SEED else "")

    def command(self, output, environment):
        """The words to run, without placeholders, from the repository's root."""
        folder = Path(output) / self.folders[0]

        def value(found):
            name, kind, other, _ = found.groups()
            if name in VARIABLES:
                return environment[VARIABLES[name]]
            if name == "seed":
                return self.seed
            if name == "soundscapes":
                return str(Path(output) / "soundscapes")
            if kind == "target_cache":
                return str(Path(output) / "target_caches" / other)
            need = self.needs[found[0]]
            return str(Path(output) / need.folders[0] / ("student" if need.kind == "prune" else ""))

        words = [PLACEHOLDER.sub(value, word) for word in self.words]
        if self.kind == "prune":
            return [*words, "--target", str(folder / "student")]
        if self.kind == "train":
            words += ["--seed", self.seed]
        words += ["--output_folder", str(folder)]
        return [*words, "--noprogressbar"] if words[0] in ("train.py", "evaluate.py") else words

    def is_done(self, output, folder=None):
        """Whether its folder says that it has finished, with these words."""
        folder = Path(output) / (folder or self.folders[0])
        note = folder / "task.json"
        if not note.is_file() or (self.kind == "score" and not (folder / "metrics.json").is_file()):
            return False
        return json.loads(note.read_text(encoding="utf-8"))["hash"] == self.hash


def variables_of(words):
    """The environment variables that the placeholders of `words` ask for.

    Example
    -------
    >>> variables_of(["--data_folder", "{esc50}", "--terms", "{text: {weight: 1}}"])
    ['ESC50_FOLDER']
    """
    names = [found[1] for word in words for found in PLACEHOLDER.finditer(word)]
    return list(dict.fromkeys(VARIABLES[name] for name in names if name in VARIABLES))


class Planner:
    """Makes the tasks of rows, each once.

    Arguments
    ---------
    rows : dict of str to dict
        Every row that may be named, by its id.
    """

    def __init__(self, rows):
        self.rows = rows
        self.tasks = {}
        self._open = []

    def score(self, row_id, seed):
        """The task that scores a row for a seed; what it needs hangs on it."""
        return self._task("score", row_id, seed)

    @staticmethod
    def in_order(tasks):
        """These tasks and all that they need, what is needed first, each once."""
        found = {}

        def add(task):
            for need in task.needs.values():
                add(need)
            found.setdefault(task.hash, task)

        for task in tasks:
            add(task)
        return list(found.values())

    def _task(self, kind, row_id, seed):
        row = self.rows.get(row_id)
        if row is None:
            raise ConfigError(f"a placeholder names the row {row_id}, which is in no table")
        if (kind, row_id) in self._open:
            raise ConfigError(f"the row {row_id} needs itself: {' → '.join(name for _, name in self._open)} → {row_id}")
        self._open.append((kind, row_id))
        words = self._words(kind, row)
        if row["seeds"] == NO_SEED:  # nothing of it is trained: it is one for all seeds
            seed = NO_SEED
        elif kind != "score" and seed == NO_SEED:
            seed = row["seeds"].split()[0]
        needs = self._needs(words, row_id, seed)
        self._open.pop()
        return self._known(kind, row, seed, words, needs)

    def _words(self, kind, row):
        if kind == "train":
            parts = ["train.py", row["hparams"]] if row["hparams"] else None
            more = row["overrides"]
        elif kind == "score":
            is_recipe = row["score"].endswith(".yaml")
            parts, more = (["evaluate.py"] if is_recipe else []) + [row["score"]], row["score_overrides"]
        else:
            parts = (["evaluate.py", RANKER] if kind == "rank" else ["prune.py"]) if row[kind] else None
            more = row[kind]
        if parts is None:
            raise ConfigError(f"the row {row['row_id']} has nothing to {kind}, which a placeholder asks for")
        return [*parts, *shlex.split(more)]

    def _needs(self, words, row_id, seed):
        needs = {}
        for word in words:
            for found in PLACEHOLDER.finditer(word):
                kind, whose = (found[1], row_id) if found[1] in OWN else (found[2], found[3])
                if kind in KINDS:
                    needs[found[0]] = self._task(KINDS[kind], whose, found[4] or seed)
        return needs

    def _known(self, kind, row, seed, words, needs):

        def by_hash(found):
            return needs[found[0]].hash if found[0] in needs else found[0]

        hashed = [PLACEHOLDER.sub(by_hash, word) for word in words]
        digest = hashlib.sha256(json.dumps([hashed, seed]).encode()).hexdigest()
        task = self.tasks.get(digest)
        if task is None:
            stem = Path(words[1]).stem if words[0] in ("train.py", "evaluate.py") else Path(words[0]).stem
            folder = f"runs/{stem}-{digest[:8]}"
            places = [found for word in words for found in PLACEHOLDER.finditer(word)]
            caches = frozenset(found[3] for found in places if found[2] == "target_cache")
            task = Task(kind, row["row_id"], seed, words, needs, digest, [folder], caches=caches)
            self.tasks[digest] = task
            if kind == "score":
                task.folders.clear()
            # A row's cost is its first task's: a training that several rows share is counted once.
            first = "train" if row["hparams"] else next((name for name in ("rank", "prune") if row[name]), "score")
            if kind == first:
                task.hours, task.disk_gb = float(row["hours"] or 0), float(row["disk_gb"] or 0)
        if kind == "score" and (place := f"scores/{row['row_id']}/{seed}") not in task.folders:
            task.folders.append(place)
        return task


def missing_for(task, environment):
    """Environment variables and scripts that a task, or one that it needs, lacks here."""
    lacks = [name for name in variables_of(task.words) if not environment.get(name)]
    lacks += [name for name in task.words[:2] if name.endswith((".py", ".yaml")) and not (ROOT / name).is_file()]
    for need in task.needs.values():
        lacks += missing_for(need, environment)
    return list(dict.fromkeys(lacks))

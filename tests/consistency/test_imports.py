"""Imports run one way, heavy libraries stay where they belong, and files stay short enough to read."""

import ast
import subprocess
import sys

import pytest
from house_tree import ROOT, SCRIPTS, imports_of, module_name, python_files, tree, where

# Who may import whom inside the repository. A module follows the longest entry that is a prefix of its name; an entry
# allows itself and everything below it. `models/*` does not list `models`: no encoder imports another encoder.
PLAIN = ["tinyclap.errors", "tinyclap.configurable"]
PREPARATION = ["tinyclap.errors", "tinyclap.audio", "tinyclap.data.manifest", "data_prep.common", "data_prep.cli"]
MAY_IMPORT = {
    "tinyclap": ["tinyclap.published"],
    "tinyclap.errors": [],
    "tinyclap.configurable": ["tinyclap.errors"],
    "tinyclap.audio": ["tinyclap.errors"],
    "tinyclap.download": ["tinyclap.errors"],
    "tinyclap.resample": PLAIN,
    "tinyclap.windows": [*PLAIN, "tinyclap.resample"],
    "tinyclap.features": [*PLAIN, "tinyclap.resample"],
    "tinyclap.prompts": PLAIN,
    "tinyclap.losses": PLAIN,
    "tinyclap.metrics": PLAIN,
    "tinyclap.profiling": PLAIN,
    "tinyclap.schedules": PLAIN,
    "tinyclap.ema": PLAIN,
    "tinyclap.models": [*PLAIN, "tinyclap.models.encoding"],
    "tinyclap.models.mobilenet": [*PLAIN, "tinyclap.models.encoding", "tinyclap.models.pruning"],
    "tinyclap.models.projection": [*PLAIN, "tinyclap.models.tag_head"],
    "tinyclap.models.text": [*PLAIN, "tinyclap.models.projection"],
    "tinyclap.models.student": [
        *PLAIN,
        "tinyclap.features",
        "tinyclap.windows",
        "tinyclap.resample",
        "tinyclap.models.encoding",
        "tinyclap.models.projection",
    ],
    "tinyclap.checkpoints": [*PLAIN, "tinyclap.models", "tinyclap.features", "tinyclap.tokenizer"],
    "tinyclap.published": [
        *PLAIN,
        "tinyclap.models",
        "tinyclap.features",
        "tinyclap.windows",
        "tinyclap.resample",
        "tinyclap.checkpoints",
        "tinyclap.published_captioners",
        "tinyclap.published_wavcaps",
    ],
    "tinyclap.teachers": [
        *PLAIN,
        "tinyclap.teachers",
        "tinyclap.download",
        "tinyclap.models",
        "tinyclap.features",
        "tinyclap.windows",
        "tinyclap.resample",
        "tinyclap.checkpoints",
        "tinyclap.published",
        "tinyclap.published_wavcaps",
        "tinyclap.prompts",
    ],
    "tinyclap.trunks": [
        *PLAIN,
        "tinyclap.checkpoints",
        "tinyclap.features",
        "tinyclap.models",
        "tinyclap.published",
    ],
    # what a teacher says of unlabelled training audio, which it therefore reads
    "tinyclap.teachers.calibration": [
        *PLAIN,
        "tinyclap.teachers",
        "tinyclap.checkpoints",
        "tinyclap.audio",
        "tinyclap.data.manifest",
    ],
    "tinyclap.data": ["tinyclap.errors"],
    "tinyclap.data.pipeline": ["tinyclap.errors", "tinyclap.audio", "tinyclap.data.manifest"],
    "tinyclap.data.pool": [
        "tinyclap.errors",
        "tinyclap.audio",
        "tinyclap.data.manifest",
        "tinyclap.data.pipeline",
        "tinyclap.data.augment",
    ],
    # not losses, models or teachers: those arrive as objects from the YAML
    "tinyclap.brains": [
        *PLAIN,
        "tinyclap.brains",
        "tinyclap.metrics",
        "tinyclap.prompts",
        "tinyclap.checkpoints",
        "tinyclap.windows",
        "tinyclap.ema",
        # pure functions of captioning; its modules come from the YAML too
        "tinyclap.caption_losses",
        "tinyclap.caption_metrics",
        "tinyclap.caption_resources",
        "tinyclap.decoding",
        "tinyclap.ngram_metrics",
        "tinyclap.profiling",
        "tinyclap.tokenizer",
    ],
    "tinyclap.published_captioners": [
        *PLAIN,
        "tinyclap.models",
        "tinyclap.features",
        "tinyclap.tokenizer",
        "tinyclap.caption_losses",
    ],
    "tinyclap.published_wavcaps": [
        *PLAIN,
        "tinyclap.models",
        "tinyclap.features",
        "tinyclap.windows",
        "tinyclap.resample",
    ],
    "tinyclap.tokenizer": PLAIN,
    "tinyclap.decoding": PLAIN,
    "tinyclap.caption_losses": [*PLAIN, "tinyclap.losses"],
    "tinyclap.caption_resources": PLAIN,
    "tinyclap.ngram_metrics": [*PLAIN, "tinyclap.tokenizer"],
    "tinyclap.caption_metrics": [
        *PLAIN,
        "tinyclap.caption_resources",
        "tinyclap.ngram_metrics",
        "tinyclap.metrics",
        "tinyclap.tokenizer",
    ],
    "tinyclap.models.captioner": [
        *PLAIN,
        "tinyclap.models.encoding",
        "tinyclap.decoding",
        "tinyclap.tokenizer",
        "tinyclap.resample",
        "tinyclap.windows",
    ],
    # by name: the one module that knows them all
    "tinyclap.models.encoders": [*PLAIN, "tinyclap.models"],
    "tinyclap.encoder_weights": [*PLAIN, "tinyclap.checkpoints", "tinyclap.published"],
    "tinyclap.data.spec_augment": [],
    "tinyclap.data.vocabulary": ["tinyclap.errors", "tinyclap.data.pipeline", "tinyclap.tokenizer"],
    "tinyclap.data.views": ["tinyclap.errors", "tinyclap.data.pipeline", "tinyclap.resample", "tinyclap.windows"],
    "tinyclap.data.caption_shards": ["tinyclap.errors"],
    "tinyclap.data.caption_store": ["tinyclap.errors", "tinyclap.data.caption_shards"],
    "tinyclap.data.caption_batches": ["tinyclap.errors"],
    "tinyclap.data.captions": [
        "tinyclap.errors",
        "tinyclap.data.caption_batches",
        "tinyclap.data.pipeline",
        "tinyclap.tokenizer",
    ],
    "tinyclap.experiment": [*PLAIN, "tinyclap.checkpoints"],
    "train": ["tinyclap.experiment", "tinyclap.errors"],
    "evaluate": ["tinyclap.experiment", "tinyclap.errors"],
    "data_prep": PREPARATION,
    "data_prep.soundscapes_synthesis": ["data_prep.signals"],
    "data_prep.soundscapes_prepare": [
        *PREPARATION,
        "data_prep.signals",
        "data_prep.soundscapes_synthesis",
        "data_prep.soundscapes_captions",
    ],
}

# Who may import what is heavy, or what only one place should know. Prefixes again; a library that is not named here
# is free.
OUTSIDE = {
    "speechbrain": [
        "tinyclap.brains",
        "tinyclap.data.pipeline",
        "tinyclap.data.vocabulary",
        "tinyclap.experiment",
        # both are part of SpeechBrain's checkpoints
        "tinyclap.schedules",
        "tinyclap.ema",
        "train",
        "evaluate",
    ],
    "hyperpyyaml": ["tinyclap.experiment", "train", "evaluate"],
    "torchaudio": ["tinyclap.data.spec_augment"],
    "transformers": ["tinyclap.models.text", "tinyclap.published", "tinyclap.published_wavcaps", "tinyclap.teachers"],
    "torch": [
        "tinyclap.resample",
        "tinyclap.features",
        "tinyclap.windows",
        "tinyclap.losses",
        "tinyclap.caption_losses",
        "tinyclap.decoding",
        "tinyclap.metrics",
        "tinyclap.prompts",
        "tinyclap.profiling",
        "tinyclap.schedules",
        "tinyclap.ema",
        "tinyclap.models",
        "tinyclap.checkpoints",
        "tinyclap.published",
        "tinyclap.published_captioners",
        "tinyclap.published_wavcaps",
        "tinyclap.teachers",
        "tinyclap.data.pipeline",
        "tinyclap.data.pool",
        "tinyclap.data.augment",
        "tinyclap.data.spec_augment",
        "tinyclap.data.views",
        "tinyclap.data.caption_shards",
        "tinyclap.data.caption_store",
        "tinyclap.data.caption_batches",
        "tinyclap.data.captions",
        "tinyclap.brains",
        "tinyclap.experiment",
        "train",
        "evaluate",
    ],
    "soundfile": ["tinyclap.audio", "data_prep.soundscapes_prepare"],
    "soxr": ["tinyclap.audio", "tinyclap.resample"],
    # loading a pickle runs whatever is in it
    "pickle": [],
    "dill": [],
    "joblib": [],
}

# file -> why it is longer than MAX_LINES
MAX_LINES = 400
LONG_FOR_A_CAUSE = {}

CODE = ("tinyclap", "data_prep", *SCRIPTS)


def covers(entry, name):
    """Whether `name` is `entry` or lies below it."""
    return name == entry or name.startswith(entry + ".")


def rule_for(name, table):
    """The longest entry of `table` that covers `name`."""
    entries = [entry for entry in table if covers(entry, name)]
    return max(entries, key=len) if entries else None


def allowed(name, imported):
    """Whether the module `name` may import the module `imported`; the package itself, for its version, anybody may."""
    rule = rule_for(name, MAY_IMPORT)
    if name != "tinyclap" and rule == "tinyclap":
        return False
    return imported in (name, "tinyclap") or any(covers(entry, imported) for entry in MAY_IMPORT[rule])


def test_every_module_has_a_rule():
    names = [module_name(path) for path in python_files(*CODE)]
    assert len(names) >= 12, f"the scan found {len(names)} modules only"
    without = [
        name for name in names if rule_for(name, MAY_IMPORT) in (None, "tinyclap") and name not in ("tinyclap", "")
    ]
    assert not without, f"say in MAY_IMPORT what these may import: {without}"


def test_imports_inside_the_repository_run_one_way():
    n_imports, wrong = 0, []
    for path in python_files(*CODE):
        for imported, node in imports_of(path):
            if imported.split(".")[0] in ("tinyclap", "data_prep", "hparams", "recipes", "tests"):
                n_imports += 1
                if not allowed(module_name(path), imported):
                    wrong.append(f"{where(path, node)} imports {imported}")
    assert n_imports >= 20, f"the scan found {n_imports} imports only"
    assert not wrong, "\n".join(dict.fromkeys(wrong))


def test_heavy_libraries_stay_where_they_belong():
    n_imports, wrong = 0, []
    for path in python_files(*CODE):
        for imported, node in imports_of(path):
            library = imported.split(".")[0]
            if library in OUTSIDE:
                n_imports += 1
                if not any(covers(entry, module_name(path)) for entry in OUTSIDE[library]):
                    wrong.append(f"{where(path, node)} imports {imported}")
    assert n_imports >= 10, f"the scan found {n_imports} imports only"
    assert not wrong, "\n".join(dict.fromkeys(wrong))


def imported_at_once(path):
    """What a file imports when it is itself imported: not what its functions import when they are called."""
    inside = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            inside |= {id(child) for child in ast.walk(node)}
    return {imported for imported, node in imports_of(path) if id(node) not in inside}


def test_no_module_imports_itself_through_others():
    graph = {}
    for path in python_files("tinyclap"):
        graph[module_name(path)] = {imported for imported in imported_at_once(path) if covers("tinyclap", imported)}
    assert len(graph) >= 8
    done, under_way = set(), []

    def visit(name):
        assert name not in under_way, " -> ".join([*under_way[under_way.index(name) :], name])
        if name in done:
            return
        under_way.append(name)
        for imported in sorted(graph.get(name, ())):
            visit(imported)
        under_way.pop()
        done.add(name)

    for name in sorted(graph):
        visit(name)


def test_only_checkpoints_calls_torch_load_and_nothing_unpickles():
    n_calls, wrong = 0, []
    for path in python_files(*CODE, "recipes"):
        for node in ast.walk(tree(path)):
            if not isinstance(node, ast.Call):
                continue
            n_calls += 1
            called = ast.unparse(node.func)
            keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            if called == "torch.load":
                if module_name(path) != "tinyclap.checkpoints":
                    wrong.append(f"{where(path, node)} calls torch.load")
                elif keywords.get("weights_only") != "True":
                    wrong.append(f"{where(path, node)} calls torch.load without weights_only=True")
            if keywords.get("allow_pickle") == "True":
                wrong.append(f"{where(path, node)} allows pickles")
    assert n_calls >= 100, f"the scan found {n_calls} calls only"
    assert not wrong, "\n".join(dict.fromkeys(wrong))


def loaded_after(statement):
    """Names of the modules that Python holds after running one statement in a process of its own."""
    code = f"{statement}\nimport sys\nprint(' '.join(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return set(result.stdout.split())


def test_importing_tinyclap_loads_nothing_heavy():
    loaded = loaded_after("import tinyclap")
    assert "tinyclap" in loaded
    heavy = {"torch", "transformers", "speechbrain", "torchaudio", "hyperpyyaml", "pandas", "scipy", "matplotlib"}
    assert not loaded & heavy


@pytest.mark.parametrize("module", ["tinyclap.published", "tinyclap.checkpoints", "tinyclap.models.student"])
def test_inference_needs_neither_speechbrain_nor_torchaudio(module):
    loaded = loaded_after(f"import {module}")
    assert module in loaded and "torch" in loaded
    assert not loaded & {"speechbrain", "torchaudio", "hyperpyyaml", "pandas"}


def test_reading_audio_needs_no_torch():
    loaded = loaded_after("import tinyclap.audio, tinyclap.data.manifest")
    assert "tinyclap.audio" in loaded
    assert not loaded & {"torch", "speechbrain", "torchaudio", "transformers"}


def test_no_print_no_bare_except_no_assert_in_the_package():
    n_nodes, wrong = 0, []
    for path in python_files("tinyclap"):
        for node in ast.walk(tree(path)):
            n_nodes += 1
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("print", "quit"):
                wrong.append(f"{where(path, node)}: {node.func.id}(); log, or return a value")
            if isinstance(node, ast.ExceptHandler) and node.type is None:
                wrong.append(f"{where(path, node)}: bare except; name the error")
            if isinstance(node, ast.Assert):
                wrong.append(f"{where(path, node)}: assert; raise one of tinyclap.errors")
    assert n_nodes >= 1000, f"the scan found {n_nodes} nodes only"
    assert not wrong, "\n".join(dict.fromkeys(wrong))


def test_no_file_is_longer_than_a_person_reads():
    files = [path for path in python_files("tinyclap", "data_prep", "recipes", "tests", "setup.py", *SCRIPTS)]
    files += [path for top in ("hparams", "recipes") for path in sorted((ROOT / top).rglob("*.*")) if path.is_file()]
    texts = [path for path in files if path.suffix in (".py", ".yaml", ".sh", ".md")]
    assert len(texts) >= 15
    long = {str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines()) for path in texts}
    long = {name: n_lines for name, n_lines in long.items() if n_lines > MAX_LINES and name not in LONG_FOR_A_CAUSE}
    assert not long, f"split by idea (limit {MAX_LINES} lines), or name the cause: {long}"
    stale = [name for name in LONG_FOR_A_CAUSE if not (ROOT / name).exists()]
    assert not stale, f"LONG_FOR_A_CAUSE names files that are gone: {stale}"

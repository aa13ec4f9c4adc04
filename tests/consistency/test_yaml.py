"""What hparams/ says is used, is short, means what it says, and cannot be mistaken for an option of SpeechBrain."""

import ast
import inspect
import pydoc
import re
from functools import cache

import pytest
import yaml
from repository_files import ROOT, SCRIPTS, launchable_yaml_files, python_files, tree, where, yaml_files

from tinyclap.training.recipe import Recipe, tag_of

# Run options of SpeechBrain that a YAML sets on purpose, so that the command line overrides them by one name.
MEANT = {
    "precision",
    "eval_precision",
    "max_grad_norm",
    "grad_accumulation_factor",
    "skip_nonfinite_grads",
    "nonfinite_patience",
    "ckpt_interval_minutes",
    "ckpt_interval_steps",
}
READERS = ("tinyclap/brains", "tinyclap/training", *SCRIPTS)
MAX_LINES = 120  # of a recipe, comments included: it is read from top to bottom
# Families of parts of which any can stand for any other, whatever the recipe.
EXCHANGEABLE = ("student", "captioner", "annealing", "logger")
BUILDS = re.compile(r"^!(new|name|apply):(.+)$")
INCLUDE = re.compile(r"^!include:(.+)$")


@cache
def composed(path):
    """The node graph of a YAML file: nothing is built, tags stay as they are written."""
    return yaml.compose(path.read_text("utf-8"))


@cache
def top_level(path):
    """Top-level key -> its node."""
    return {key.value: value for key, value in composed(path).value}


def nodes(node):
    """Every node of a YAML file."""
    yield node
    for child in node.value if isinstance(node.value, list) else []:
        for part in child if isinstance(child, tuple) else (child,):
            yield from nodes(part)


def references(path):
    """What ``!ref`` and ``!copy`` reach: list of (top-level key, first key inside it or None)."""
    found = []
    for node in nodes(composed(path)):
        if node.tag in ("!ref", "!copy") and isinstance(node.value, str):
            found += re.findall(r"<(\w+)(?:\[(\w+)\])?", node.value)
    return [(key, inside or None) for key, inside in found]


def includes(path):
    """Every ``!include:``: list of (top-level key that holds it or None, included file, node)."""
    held_by = {id(node): key for key, node in top_level(path).items()}
    return [
        (held_by.get(id(node)), path.parent / INCLUDE.match(node.tag).group(1), node)
        for node in nodes(composed(path))
        if INCLUDE.match(node.tag)
    ]


def is_hparams(node):
    return ast.unparse(node).split(".")[-1] == "hparams"


def key_of_call(node):
    """``x`` of ``hparams.get("x")`` and ``getattr(self.hparams, "x", None)``, else None."""
    names = [arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
    is_get = isinstance(node.func, ast.Attribute) and node.func.attr == "get" and is_hparams(node.func.value)
    is_getattr = ast.unparse(node.func) == "getattr" and is_hparams(node.args[0])
    return names[0] if names and (is_get or is_getattr) else None


@cache
def names_read_by_code():
    """Keys that scripts and Brains read by name.

    That is ``hparams["x"]``, ``hparams.get("x")``, ``self.hparams.x``, and what ``required_hparams`` lists.
    """
    names = set()
    for path in python_files(*READERS):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Attribute) and is_hparams(node.value):
                names.add(node.attr)
            elif isinstance(node, ast.Subscript) and is_hparams(node.value) and isinstance(node.slice, ast.Constant):
                names.add(node.slice.value)
            elif isinstance(node, ast.Call) and (key := key_of_call(node)):
                names.add(key)
            elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]).endswith("required_hparams"):
                names |= {leaf.value for leaf in ast.walk(node.value) if isinstance(leaf, ast.Constant)}
    return names


def run_option_names():
    """Every name that SpeechBrain's command line takes for itself."""
    from speechbrain.utils.run_opts import RunOptions

    options = RunOptions._create_parser()._option_string_actions
    return {option.removeprefix("--") for option in options if option.startswith("--")}


def test_the_scan_sees_the_recipes():
    assert len(launchable_yaml_files()) >= 5, [where(path) for path in launchable_yaml_files()]
    assert len(names_read_by_code()) >= 8, sorted(names_read_by_code())
    assert len(run_option_names()) >= 30


@pytest.mark.parametrize("path", launchable_yaml_files(), ids=lambda path: path.stem)
def test_no_key_is_taken_for_a_run_option(path):
    taken = run_option_names() & set(top_level(path)) - MEANT
    assert len(top_level(path)) >= 5
    assert not taken, f"rename these keys: {taken}"


@pytest.mark.parametrize("path", launchable_yaml_files(), ids=lambda path: path.stem)
def test_every_key_is_used(path):
    used = {key for key, _ in references(path)} | names_read_by_code() | MEANT
    unused = [
        key
        for key, node in top_level(path).items()
        # __seed: !apply:… acts when it is read, and is not for reading
        if key not in used and not (key.startswith("__") and node.tag.startswith("!apply:"))
    ]
    assert len(top_level(path)) >= 5
    assert not unused, f"neither a !ref nor the code reads: {unused}"


def family(path):
    """``student`` of ``parts/student_phinet.yaml``: the parts that ``--student NAME`` chooses from."""
    return path.stem.partition("_")[0]


def parts():
    return [path for path in yaml_files() if path.parent.name == "parts"]


def reached_by_family():
    """Keys that recipes take out of a family's parts: family -> set of keys."""
    reached = {}
    for path in yaml_files():
        for key, part, _ in includes(path):
            inside = {second for first, second in references(path) if first == key}
            reached.setdefault(family(part), set()).update(inside)
    return reached


def test_every_key_of_a_part_is_used():
    reached, unused = reached_by_family(), {}
    assert len(parts()) >= 20
    for part in parts():
        assert family(part) in reached, f"no recipe includes a part of the family of {where(part)}"
        # the Brains read what a part called scoring has
        used = {key for key, _ in references(part)} | reached[family(part)] | names_read_by_code()
        if missing := [key for key in top_level(part) if key not in used and None not in used]:
            unused[where(part)] = missing
    assert not unused


def test_a_part_can_stand_for_any_other_of_its_family():
    n_checked, wrong = 0, []
    for part in parts():
        if family(part) in EXCHANGEABLE:
            n_checked += 1
            lacking = reached_by_family()[family(part)] - set(top_level(part)) - {None}
            wrong += [f"{where(part)} has no {key}" for key in sorted(lacking)]
    assert n_checked >= 12
    assert not wrong, "recipes take these out of the other parts of the family"


def test_every_value_of_a_part_is_explained():
    n_values, bare = 0, []
    for part in parts():
        for number, line in enumerate(part.read_text("utf-8").splitlines(), 1):
            value = re.match(r"(\w+): (?![!&*])\S+", line)
            n_values += bool(value)
            if value and "  #" not in line:
                bare.append(f"{where(part)}:{number}: {value[1]}")
    assert n_values >= 100
    assert not bare, "a comment says what it is, and its unit or choices"


@pytest.mark.parametrize("path", yaml_files(), ids=lambda path: str(path.relative_to(ROOT / "hparams")))
def test_a_recipe_is_short(path):
    lines = path.read_text("utf-8").splitlines()
    assert lines[0].startswith("# "), "the first line says what it is"
    assert len(lines) <= MAX_LINES
    long = [number for number, line in enumerate(lines, 1) if len(line) > 120]
    assert not long, f"lines over 120 characters: {long}"


def twins():
    """(a file of demo/ or reference/, the recipe that it must be read beside)."""
    other = {"tinyclap": "distill_phinet", "tinyclap_projection": "distill_phinet_projection"}
    other |= {f"eac_{corpus}": f"distill_captioner_{corpus}" for corpus in ("clotho", "audiocaps")}
    files = [path for path in yaml_files() if path.parent.name in ("demo", "reference")]
    return [(path, ROOT / "hparams" / f"{other.get(path.stem, path.stem)}.yaml") for path in files]


def settings_of(path):
    """The values of a recipe with all that it leaves out, flat."""
    keys = Recipe(path, is_complete=False).keys()
    left_out = [name for name, key in keys.items() if tag_of(key.node) == "!PLACEHOLDER"]
    left_out = {name: str(ROOT) if name.endswith("_folder") else "something" for name in left_out}
    return Recipe(path, left_out).settings()


@pytest.mark.parametrize(("path", "recipe"), twins(), ids=lambda path: str(path.relative_to(ROOT / "hparams")))
def test_demonstration_and_reference_have_the_recipes_keys_in_its_order(path, recipe):
    assert len(twins()) >= 7
    assert list(top_level(path)) == list(top_level(recipe))
    for key, node in top_level(path).items():
        if isinstance(node, yaml.MappingNode) and not INCLUDE.match(node.tag):
            assert [name.value for name, _ in node.value] == [name.value for name, _ in top_level(recipe)[key].value]
    assert settings_of(path) != settings_of(recipe)


# What the experiments were before parts came: `git show` of the commit before this file's.
VALUES = {
    "distill_phinet": {
        **{"number_of_epochs": 100, "batch_size": 64, "lr": 0.012, "clip_duration_s": 5.0, "short_clips": "tile"},
        **{"student.alpha": 1.5, "student.beta": 0.75, "student.t_zero": 6, "student.n_layers": 7},
        **{"student.batchnorm_momentum": 0.1, "student.embed_width": 2048, "student.embed_stride": 2},
        **{"student.head": "clap", "student.front_end": "clap2022", "student.hop_length": 320, "n_views": 16},
        **{"annealing.patience": 10, "annealing.reference_dead_lr_schedule": False, "repeat_by_captions": False},
        **{"teacher.embed_dim": 1024, "loss": "cosine", "terms.distill.weight": 1.0, "terms.text.weight": 0.0},
    },
    "demo/distill_phinet": {
        **{"number_of_epochs": 8, "batch_size": 32, "lr": 0.004, "clip_duration_s": 2.0, "ema_decay": 0.99},
        **{"student.alpha": 0.5, "student.t_zero": 4, "student.embed_width": None, "student.head": "linear"},
        **{"student.hop_length": 882, "teacher.embed_dim": 256, "data.n_soundscapes": 1200, "data.n_events": 1},
        **{"keep_audio_in_memory": True, "teacher.teacher_weights": "results/train_clap/soundscapes/1234"},
    },
    "reference/tinyclap": {
        **{"number_of_epochs": 100, "batch_size": 64, "lr": 0.012, "short_clips": "pad", "channels": "sum"},
        **{"student.batchnorm_momentum": 0.999, "annealing.reference_dead_lr_schedule": True, "drop_last": True},
        **{"repeat_by_captions": True, "weight_decay": 0.0, "ema_decay": None, "student.alpha": 1.5},
    },
    "reference/tinyclap_projection": {
        **{"number_of_epochs": 10, "batch_size": 64, "lr": 0.004, "reference_frozen_drift": True, "drop_last": True},
        **{"short_clips": "pad", "channels": "sum", "annealing.reference_dead_lr_schedule": True},
    },
    "train_clap": {
        **{"number_of_epochs": 40, "batch_size": 64, "lr": 0.001, "width": 1.0, "embed_dim": 256, "text_width": 256},
        **{"text_layers": 2, "weight_decay": 0.01, "ema_decay": 0.99, "warmup_fraction": 0.1, "hop_length": 320},
    },
    "demo/train_clap": {
        **{"number_of_epochs": 12, "batch_size": 32, "lr": 0.003, "width": 0.4, "text_width": 128, "text_layers": 1},
        **{"hop_length": 882, "clip_duration_s": 2.0, "weight_decay": 0.05, "data.n_soundscapes": 1200},
    },
    "distill_real_audio": {
        **{"number_of_epochs": 6, "batch_size": 32, "lr": 0.006, "weight_decay": 0.02, "ema_decay": 0.999},
        **{"student.alpha": 0.7, "student.t_zero": 4, "student.squeeze_excite": True, "student.h_swish": True},
        **{"student.pooling": "mean_max", "student.dropout": 0.0, "student.embed_width": 256, "student.n_mels": 64},
        **{"student.hop_length": 640, "clip_duration_s": 2.0, "valid_fraction": 0.1, "terms.pooled.weight": 0.3},
    },
    "distill_captioner_clotho": {
        **{"number_of_epochs": 25, "batch_size": 32, "lr": 0.0005, "final_lr": 0.0000005, "warmup_fraction": 0.2},
        **{"weight_decay": 0.000001, "swa_from_epoch": 21, "scheduled_sampling": 0.3, "label_smoothing": 0.1},
        **{"max_grad_norm": 1.0, "shared_dim": 1024, "encoder_kd_exponentiate": False, "audio_only_loss": "average"},
        **{"captioner.decoder_width": 256, "captioner.decoder_layers": 2, "captioner.decoder_heads": 4},
        **{"captioner.dropout": 0.2, "max_words": 20, "captioner.hop_length": 160, "window_s": 10.0},
    },
    "reference/eac_clotho": {
        **{"audio_only_loss": "add", "one_item_a_caption": True, "swa_from_epoch": 21, "scheduled_sampling": 0.3},
        **{"encoder_kd_exponentiate": False, "encoder_kd_projection": "both", "terms.encoder.weight": 1.0},
    },
    "distill_captioner_soundscapes": {
        **{"number_of_epochs": 10, "lr": 0.003, "captioner.alpha": 0.35, "captioner.t_zero": 3},
        **{"captioner.embed_width": 96, "captioner.decoder_width": 96, "shared_dim": 128, "window_s": 2.0},
        **{"captioner.hop_length": 320, "captioner.batchnorm_momentum": 0.05, "terms.sequence.weight": 0.0},
    },
    "distill_captioner_real_audio": {
        **{"number_of_epochs": 5, "lr": 0.001, "captioner.width": 0.4, "captioner.dropout": 0.1, "shared_dim": 512},
        **{"encoder_kd_projection": "student", "encoder_kd_exponentiate": True, "n_views": 2, "ema_decay": 0.99},
    },
}


@pytest.mark.parametrize("name", VALUES)
def test_the_experiments_keep_their_values(name):
    settings, wanted = settings_of(ROOT / "hparams" / f"{name}.yaml"), VALUES[name]
    assert {key: settings.get(key, "absent") for key in wanted} == wanted


def test_references_and_includes_reach_something():
    n_references, wrong = 0, []
    for path in yaml_files():
        for key, _ in references(path):
            n_references += 1
            if key not in top_level(path):
                wrong.append(f"{where(path)}: <{key}>")
        for _, part, node in includes(path):
            if not part.exists():
                wrong.append(f"{where(path)}: {node.tag}")
            elif isinstance(node, yaml.MappingNode):
                wrong += [
                    f"{where(path)}: {node.tag} has no key {key.value}"
                    for key, _ in node.value
                    if key.value not in top_level(part)
                ]
    assert n_references >= 30, f"the scan found {n_references} references only"
    assert not wrong, "\n".join(wrong)


def test_what_is_built_exists_and_takes_these_arguments():
    n_built, wrong = 0, []
    for path in yaml_files():
        for node in nodes(composed(path)):
            match = BUILDS.match(node.tag)
            if not match:
                continue
            n_built += 1
            target = pydoc.locate(match.group(2))
            line = f"{where(path)}:{node.start_mark.line + 1}: {match.group(2)}"
            if target is None and not match.group(2).startswith("wandb."):  # not installed everywhere
                wrong.append(f"{line} does not exist")
            elif (
                target and isinstance(node, yaml.MappingNode) and match.group(2).startswith(("tinyclap.", "data_prep."))
            ):
                given = {key.value for key, _ in node.value}
                accepted = inspect.signature(target).parameters
                any_key = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in accepted.values())
                wrong += [f"{line} takes no {key}" for key in sorted(given - set(accepted)) if not any_key]
    assert n_built >= 20, f"the scan found {n_built} objects only"
    assert not wrong, "\n".join(wrong)


def test_no_path_of_a_machine():
    texts = {where(path): path.read_text("utf-8") for path in yaml_files()}
    texts |= {where(path): path.read_text("utf-8") for path in python_files("tinyclap", "data_prep", *SCRIPTS)}
    assert len(texts) >= 20
    found = [name for name, text in texts.items() if re.search(r"(?<![\w.])/(home|Users|mnt|root|work)/", text)]
    assert not found
    assert (ROOT / "hparams").is_dir()

"""The doctor says what is wrong and what fixes it, whatever this environment has: metadata and builds are faked."""

import hashlib
import json
import os
import shlex
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tinyclap.cli import doctor_command as doctor
from tinyclap.cli.doctor_command import ERROR, OK, WARNING, Finding

MODEL = b"weights " * 1000
METADATA = [
    "numpy>=1.26",
    'torch>=2.11; extra == "train"',
    'torchaudio>=2.11.1; extra == "train"',
    'transformers<6,>=5; extra == "train"',
    "ray[data] (>=2.60) ; extra == 'scale'",
    'aac-metrics==0.5.4; extra == "metrics"',
]


@pytest.fixture
def installed(monkeypatch):
    """Pretend that these versions are installed (and can be imported, unless an error is named)."""

    def install(versions, errors=None, torch=None, torchaudio=None):
        monkeypatch.setattr(doctor.metadata, "requires", lambda name: METADATA)
        monkeypatch.setattr(doctor, "version_of", lambda name: {"tinyclap": "0.1", **versions}.get(name))
        monkeypatch.setattr(doctor, "import_errors", lambda names, limit_s: dict.fromkeys(names, "") | (errors or {}))
        monkeypatch.setattr(doctor, "build_of", {"torch": torch, "torchaudio": torchaudio}.get)

    return install


@pytest.fixture
def caches(tmp_path, monkeypatch):
    """Both caches in a folder of their own, still missing: (tinyclap's, the hub's)."""
    monkeypatch.setenv("TINYCLAP_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "own", tmp_path / "hub"


TRAIN = {"numpy": "2.4.6", "torch": "2.14.1+cu130", "torchaudio": "2.11.1+cu130", "transformers": "5.1.0"}


def errors_of(findings):
    return {each.part: each for each in findings if each.status == ERROR}


def test_what_is_needed_comes_from_the_metadata_of_the_package(installed):
    installed({})
    assert doctor.requirements(["runtime"]) == {"numpy": ">=1.26"}
    assert doctor.requirements(["scale", "metrics"]) == {"numpy": ">=1.26", "ray": ">=2.60", "aac-metrics": "==0.5.4"}


@pytest.mark.parametrize(
    "name, version, wrong",
    [
        ("numpy", "1.25.3", True),
        ("numpy", "1.26", False),
        ("numpy", "10.0rc1", False),
        ("torch", "2.9.1+cpu", True),
        ("torch", "2.30.0+cu132", False),
        ("torchaudio", "2.11.0", True),
        ("transformers", "6.0.0", True),
        ("transformers", None, True),
    ],
)
def test_versions_are_held_against_their_bounds(installed, name, version, wrong):
    installed({**TRAIN, name: version})
    found = errors_of(doctor.check_libraries(["train"]))
    assert list(found) == [name] * wrong
    if wrong:
        assert shlex.split(found[name].fix)[-1] == name + doctor.requirements(["train"])[name]


def test_without_packaging_all_but_the_bounds_is_checked(installed, monkeypatch):
    installed({**TRAIN, "numpy": "1.0", "transformers": None})
    monkeypatch.setitem(sys.modules, "packaging.specifiers", None)
    findings = doctor.check_libraries(["train"])
    assert (findings[0].status, list(errors_of(findings))) == (WARNING, ["transformers"])


def test_a_message_about_another_library_is_traced_to_torchaudio(installed):
    errors = {"torchaudio": "OSError: libcudart.so.13: cannot open", "transformers": "Could not import 'BertModel'"}
    installed(TRAIN, errors, torch=("2.14.1+cpu", None))
    found = errors_of(doctor.check_libraries(["train"]))
    assert list(found) == ["torchaudio", "transformers"]
    assert "https://download.pytorch.org/whl/cpu" in found["torchaudio"].fix
    assert "torchaudio" in found["transformers"].why and not found["transformers"].fix


def test_a_missing_module_is_installed_and_a_broken_one_again(installed):
    installed(TRAIN)
    assert doctor.explain("numpy", "ModuleNotFoundError: No module named 'gone_away'", ["numpy"])[1].endswith(
        "gone_away"
    )
    assert doctor.explain("numpy", "ImportError: no", ["numpy"])[1].endswith("--no-deps numpy==2.4.6")


@pytest.mark.parametrize(
    "torch, torchaudio, words",
    [
        (("2.15.0+cu132", "13.2"), ("2.11.1+cu130", "13.0"), None),
        (("2.15.0+cu132", "13.2"), ("2.11.1+cpu", None), None),
        (None, ("2.11.1+cu130", "13.0"), None),
        (("2.15.0+cu132", "13.2"), None, None),
        (("2.15.0+cu132", "13.2"), ("2.11.1+cu126", "12.6"), ["--force-reinstall", "torch", "torchaudio"]),
        (("2.14.1+cpu", None), ("2.11.1+cu130", "13.0"), ["https://download.pytorch.org/whl/cpu", "torchaudio"]),
    ],
)
def test_torch_and_torchaudio_are_of_one_cuda_major(torch, torchaudio, words):
    found = doctor.check_pair(torch, torchaudio)
    assert len(found) == (words is not None)
    if words:
        assert shlex.split(found[0].fix)[-len(words) :] == words


def test_builds_are_read_from_their_files(tmp_path, monkeypatch):
    for name, text in {
        "torch": "__version__ = '2.14.1+cu130'\ncuda: Optional[str] = '13.0'\n",
        "torchaudio": "__version__ = '2.11.1+cu126'\ngit_version = 'a'\n",
        "other": "__version__ = '2.14.1+cpu'\ncuda: Optional[str] = None\n",
    }.items():
        (tmp_path / f"faked_{name}").mkdir()
        (tmp_path / f"faked_{name}" / "__init__.py").write_text("1 / 0")
        (tmp_path / f"faked_{name}" / "version.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    assert doctor.build_of("faked_torch") == ("2.14.1+cu130", "13.0")
    assert doctor.build_of("faked_torchaudio") == ("2.11.1+cu126", "12.6")
    assert doctor.build_of("faked_other") == ("2.14.1+cpu", None)
    assert doctor.build_of("no_such_module") is None


@pytest.mark.parametrize(
    "code, said",
    [
        ("import json", ""),
        ("raise OSError('libcudart.so.13')", "OSError: libcudart.so.13"),
        ("import os; os.abort()", "status -6"),
        ("import os; os._exit(3)", "status 3"),
        ("import time; time.sleep(600)", "after 5 s"),
    ],
)
def test_a_library_that_raises_hangs_or_kills_is_named(monkeypatch, code, said):
    monkeypatch.setattr(doctor, "_IMPORTS", {"library": code, "one": "import json", "last": "print(1)"})
    found = doctor.import_errors(["one", "library", "last"], 5.0)
    assert said in found["library"] and bool(said) == bool(found["library"])
    assert (found["one"], found["last"]) == ("", "")


def test_nothing_that_may_be_missing_is_imported():
    code = "import sys; from tinyclap.cli.main import main; main(['doctor', '--help'])\n"
    blocked = "import sys; sys.modules.update(dict.fromkeys(('numpy', 'tqdm', 'soxr', 'soundfile', 'packaging')))\n"
    done = subprocess.run([sys.executable, "-c", blocked + code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "--for" in done.stdout, done.stderr


def fetched(hub, content, name=None):
    """Put a blob into the hub's cache under its checksum, or under `name`, with a link to it; returns both."""
    blob = hub / "models--someone--tiny" / "blobs" / (name or hashlib.sha256(content).hexdigest())
    link = blob.parents[1] / "snapshots" / "0" / f"of_{blob.name[:4]}"
    for path in (blob, link):
        path.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(content)
    link.symlink_to(os.path.relpath(blob, link.parent))
    return blob, link


def test_changed_cut_and_missing_files_are_found_and_the_command_fixes_it(caches):
    own, hub = caches
    assert [each.status for each in doctor.check_caches()] == [OK, OK]
    good, _ = fetched(hub, MODEL)
    # git's name of the six bytes "hello\n", as `git hash-object` says it
    fetched(hub, b"hello\n", "ce013625030ba8dba906f756967f9e9ca394464a")
    own.mkdir()
    weights = own / "name with spaces.pth"
    weights.write_bytes(MODEL)
    weights.with_name(f"{weights.name}.md5").write_text(f"{hashlib.md5(MODEL).hexdigest()}  {weights.name}\n")
    assert [each.status for each in doctor.check_caches()] == [OK, OK]
    weights.write_bytes(MODEL[:100])
    cut, _ = fetched(hub, b"hello", "a" * 40)
    gone, dangling = fetched(hub, b"", "b" * 64)
    gone.unlink()
    findings = doctor.check_caches()
    assert [each.status for each in findings] == [ERROR, ERROR] and good.name not in findings[1].fix
    for finding in findings:
        subprocess.run(shlex.split(finding.fix), check=True)
    assert good.exists() and not cut.exists() and not dangling.is_symlink() and not weights.exists()
    assert [each.status for each in doctor.check_caches()] == [OK, OK]
    assert "1 of 2 files" in doctor.check_caches(limit_bytes=100)[1].found


def test_a_shipped_model_that_was_changed_is_named(tmp_path, monkeypatch):
    (tmp_path / "labels.json").write_text("[]")
    (tmp_path / "config.json").write_text(json.dumps({"files": {"labels.json": "0" * 64}}))
    monkeypatch.setattr(doctor, "shipped_names", lambda: ["a"])
    monkeypatch.setattr(doctor, "shipped_folder", lambda name: tmp_path)
    assert "labels.json" in errors_of(doctor.check_shipped())["model a"].found
    (tmp_path / "config.json").write_text("[]")
    assert "config.json" in errors_of(doctor.check_shipped())["model a"].found
    monkeypatch.undo()
    assert not errors_of(doctor.check_shipped())


def test_the_hubs_cache_is_where_the_hubs_library_looks(monkeypatch, tmp_path):
    pytest.importorskip("huggingface_hub", reason="needs the hub's library")
    code = "import huggingface_hub.constants as c; print(c.HF_HUB_CACHE)"
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    for variable in ("HF_HOME", "XDG_CACHE_HOME", "HF_HUB_CACHE"):
        with monkeypatch.context() as patched:
            patched.setenv(variable, str(tmp_path))
            said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
            assert said.stdout.strip() == str(doctor.hub_cache())


def test_room_that_is_named_and_not_there_is_an_error_and_less_than_usual_a_warning(tmp_path, caches, monkeypatch):
    assert doctor.check_disks(["runtime"], space_mb=1 << 40, folder=tmp_path)[0].status == ERROR
    assert doctor.check_disks(["runtime"], space_mb=1, folder=tmp_path / "not" / "yet")[0].status == OK
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 200 << 20}))
    assert {each.status for each in doctor.check_disks(["train"])} == {WARNING}
    assert {each.status for each in doctor.check_disks(["runtime"])} == {OK}
    monkeypatch.setattr(doctor.os, "access", lambda path, mode: False)
    assert {each.status for each in doctor.check_disks(["runtime"])} == {ERROR}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("status, exit_status", [(OK, 0), (WARNING, 0), (ERROR, 1)])
def test_text_and_json_say_the_same_and_the_exit_status_follows(monkeypatch, capsys, status, exit_status):
    from tinyclap.cli.main import main

    for name in ("check_installation", "check_libraries", "check_shipped", "check_caches"):
        monkeypatch.setattr(doctor, name, lambda *arguments: [])
    monkeypatch.setattr(doctor, "check_disks", lambda *arguments: [Finding("b", status, "it", "because", "rm b")])
    assert main(["doctor", "--for", "train"]) == exit_status
    text = capsys.readouterr().out
    assert "fix: rm b" in text and text.endswith(f"{int(status == ERROR)} errors, {int(status == WARNING)} warnings\n")
    assert main(["doctor", "--json", "--for", "train"]) == exit_status
    report = json.loads(capsys.readouterr().out)
    assert report["findings"] == [{"part": "b", "status": status, "found": "it", "why": "because", "fix": "rm b"}]
    assert (report["purposes"], report["n_errors"], report["n_warnings"]) == (
        ["train"],
        int(status == ERROR),
        int(status == WARNING),
    )

"""The doctor says what is wrong and how it is mended, by what it finds and not by what it is told."""

import hashlib
import os
import shlex
import subprocess
import sys
import time

import pytest

from tests.conftest import ROOT
from tinyclap.cli.doctor import libraries, requirements, torch_pair
from tinyclap.cli.doctor.caches import check_hub_cache, check_tinyclap_cache, hub_cache
from tinyclap.cli.doctor.examination import as_json, as_text
from tinyclap.cli.doctor.finding import FAULT, OK, WARNING, Finding
from tinyclap.cli.doctor.imports import Trial, try_imports
from tinyclap.cli.doctor.machine import check_disks, check_machine
from tinyclap.cli.doctor.network import check_network
from tinyclap.cli.doctor.programs import check_java

MODEL = b"weights " * 1000


@pytest.fixture
def caches(tmp_path, monkeypatch):
    """Both caches in a folder of their own, still missing: (tinyclap's, the hub's)."""
    monkeypatch.setenv("TINYCLAP_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "own", tmp_path / "hub"


def fetched(hub, content=MODEL, name=None):
    """Put a blob into the hub's cache under its checksum, or under `name`; returns its path."""
    blobs = hub / "models--someone--tiny" / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    path = blobs / (name or hashlib.sha256(content).hexdigest())
    path.write_bytes(content)
    return path


# ------------------------------------------------------------------------------------------------ versions


@pytest.mark.parametrize(
    ("version", "bounds", "inside"),
    [
        ("2.15.0+cu132", ">=2.11,<2.15", False),
        ("2.14.1", ">=2.11,<2.15", True),
        ("0.5.4", "==0.5.4", True),
        ("0.5.40", "==0.5.4", False),
        ("2", ">=2.0", True),
        ("3.9.1", "~=3.8.0", False),
        ("3.8.7", "~=3.8.0", True),
        ("1.2", "!=1.2", False),
        ("9", "", True),
    ],
)
def test_a_version_is_held_against_its_bounds_number_by_number(version, bounds, inside):
    assert requirements.fits(version, bounds) is inside


def test_bounds_come_from_the_metadata_of_the_package_and_not_from_a_second_list():
    found = requirements.requirements()
    assert found["torch"]["bounds"].startswith(">=2.") and "train" in found["torch"]["extras"]
    assert found["numpy"]["extras"] == {""}
    assert libraries.purposes_of("numpy") == ("runtime", "train", "export", "metrics")
    assert "runtime" in libraries.purposes_of("onnxruntime") and "runtime" not in libraries.purposes_of("torch")
    assert requirements.wanted("aac-metrics") == "aac-metrics==0.5.4"


# ------------------------------------------------------------------------------------------------- imports


def test_a_library_that_raises_hangs_or_kills_does_not_stop_the_others():
    trials = {
        "raises": ("raise OSError('libcudart.so.13: cannot open')", ""),
        "hangs": ("import time; time.sleep(600)", ""),
        "kills": ("import os; os.abort()", ""),
        "leaves": ("import os; os._exit(0)", ""),
        "works": ("import json as m", "m.__name__"),
    }
    start = time.perf_counter()
    found = try_imports(trials, limit_s=3.0, trials=trials)
    assert time.perf_counter() - start < 60
    assert list(found) == list(trials)
    assert found["raises"].error == "OSError: libcudart.so.13: cannot open"
    assert "3 s" in found["hangs"].error and "signal" in found["kills"].error
    assert not found["leaves"].works and found["works"] == Trial(True, "json")


def test_what_a_library_prints_is_not_taken_for_the_report():
    trials = {"talks": ("print('tinyclap-doctorish'); import sys; print('{}', file=sys.stderr); import json as m", "1")}
    assert try_imports(trials, trials=trials) == {"talks": Trial(True, "1")}


# --------------------------------------------------------------------------------------- torch and torchaudio


def of_builds(monkeypatch, torch, audio):
    """Pretend that these builds are installed: version files are what is read of them."""
    monkeypatch.setattr(torch_pair, "build_of", lambda module: {"torch": torch, "torchaudio": audio}[module])


def test_builds_for_different_cuda_are_a_fault_before_anything_is_imported(monkeypatch):
    for audio in (("2.11.0+cu130", "13.0"), ("2.11.1+cu126", "12.6")):
        of_builds(monkeypatch, ("2.15.0+cu132", "13.2"), audio)
        (finding,) = torch_pair.check_pair()
        assert finding.status == FAULT and "13.2" in finding.found and audio[1] in finding.found
        assert shlex.split(finding.mend)[-2:] == [requirements.wanted("torch"), requirements.wanted("torchaudio")]


def test_a_torch_for_processors_beside_a_torchaudio_of_cuda_is_mended_from_the_index_of_that_torch(monkeypatch):
    of_builds(monkeypatch, ("2.14.1+cpu", None), ("2.11.0+cu130", "13.0"))
    (finding,) = torch_pair.check_pair()
    assert f"https://download.pytorch.org/whl/cpu '{requirements.wanted('torchaudio')}'" in finding.mend
    error = "OSError: libcudart.so.13: cannot open shared object file: No such file or directory"
    assert torch_pair.explain("torchaudio", error, set())[1] == finding.mend


@pytest.mark.parametrize(
    "audio", [("2.11.0+cu132", "13.2"), ("2.11.1+cu130", "13.0"), ("2.11.0+cpu", None), (None, None)]
)
def test_builds_that_go_together_are_no_finding(monkeypatch, audio):
    of_builds(monkeypatch, ("2.15.0+cu132", "13.2"), audio)
    assert torch_pair.check_pair() == []


def test_a_misleading_message_is_traced_to_torchaudio():
    error = (
        "ModuleNotFoundError: Could not import module 'BertModel'. Are this object's requirements defined correctly?"
    )
    why, mend = torch_pair.explain("transformers", error, {"torchaudio"})
    assert "torchaudio" in why and mend == ""
    assert torch_pair.explain("transformers", error, set()) is None


def test_the_build_of_this_torch_is_read_from_its_file():
    torch = pytest.importorskip("torch", reason="needs a torch to look at")
    assert torch_pair.build_of("torch") == (torch.__version__, torch.version.cuda)
    assert "torch" in sys.modules and torch_pair.build_of("no_such_module") == (None, None)


# --------------------------------------------------------------------------------------------------- caches


def test_a_whole_cache_is_right_and_a_missing_one_too(caches):
    own, hub = caches
    assert [each.status for each in (*check_tinyclap_cache(), *check_hub_cache())] == [OK, OK]
    fetched(hub)
    # git's name of the six bytes "hello\n", as `git hash-object` says it
    fetched(hub, b"hello\n", "ce013625030ba8dba906f756967f9e9ca394464a")
    own.mkdir()
    (own / "a.pth").write_bytes(MODEL)
    (own / "a.pth.md5").write_text(f"{hashlib.md5(MODEL).hexdigest()}  a.pth\n")
    assert [each.status for each in (*check_tinyclap_cache(), *check_hub_cache())] == [OK, OK]


def test_what_was_cut_short_is_found_and_its_command_mends_it(caches):
    own, hub = caches
    good, bad = fetched(hub), fetched(hub, b"hello", "ce013625030ba8dba906f756967f9e9ca394464a")
    snapshot = bad.parents[1] / "snapshots" / "0"
    snapshot.mkdir(parents=True)
    (snapshot / "model.onnx").symlink_to(good)
    own.mkdir()
    weights = own / "name with spaces.pth"
    weights.write_bytes(MODEL[:100])
    weights.with_name(f"{weights.name}.md5").write_text(f"{hashlib.md5(MODEL).hexdigest()}  {weights.name}\n")
    findings = [*check_tinyclap_cache(), *check_hub_cache()]
    assert [each.status for each in findings] == [FAULT, FAULT]
    assert good.name not in findings[1].mend
    for finding in findings:
        subprocess.run(["bash", "-c", finding.mend], check=True)
    assert good.exists() and not bad.exists() and not weights.exists()
    assert [each.status for each in (*check_tinyclap_cache(), *check_hub_cache())] == [OK, OK]


def test_interrupted_downloads_and_links_to_nothing_are_told_apart(caches):
    _, hub = caches
    blob = fetched(hub)
    blob.with_name(f"{blob.name}.incomplete").write_bytes(b"half")
    snapshot = blob.parents[1] / "snapshots" / "0"
    snapshot.mkdir(parents=True)
    (snapshot / "gone.onnx").symlink_to(blob.with_name("0" * 64))
    assert [each.status for each in check_hub_cache()] == [FAULT, WARNING]


def test_what_is_too_large_to_be_read_is_counted_and_not_called_right(caches):
    fetched(caches[1])
    fetched(caches[1], b"small")
    (finding,) = check_hub_cache(limit_bytes=100)
    assert "1 files, checksums right; 1 too large" in finding.found


def test_the_hubs_cache_is_where_the_hubs_library_looks(monkeypatch, tmp_path):
    constants = pytest.importorskip("huggingface_hub.constants", reason="needs the hub's library")
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    code = "import huggingface_hub.constants as c; print(c.HF_HUB_CACHE)"
    for variables in (
        {},
        {"HF_HOME": str(tmp_path)},
        {"XDG_CACHE_HOME": str(tmp_path)},
        {"HF_HUB_CACHE": str(tmp_path)},
    ):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert said.stdout.strip() == str(hub_cache())
        for name in variables:
            monkeypatch.delenv(name)
    assert constants.HF_HUB_CACHE


# -------------------------------------------------------------------------------------------- disks, machine


def test_a_disk_is_tried_and_not_only_measured(tmp_path, caches):
    pytest.importorskip("resource", reason="limits of files are POSIX")
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20));"
        "from tinyclap.cli.doctor.machine import check_disks;"
        "print([each.status for each in check_disks(['runtime'])], check_disks(['runtime'])[0].why)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("['fault', 'fault', 'fault', 'fault'] files are limited")


def test_room_that_is_asked_for_and_not_there_is_a_fault_and_less_than_usual_a_warning(tmp_path, caches):
    asked = check_disks(["runtime"], space_mb=1 << 40, folder=tmp_path)[0]
    assert asked.status == FAULT and "asked for" in asked.why and asked.mend
    assert check_disks(["runtime"], space_mb=1, folder=tmp_path / "not" / "yet")[0].status == OK
    assert list(tmp_path.iterdir()) == []


def test_more_threads_than_cores_are_a_warning(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "100000")
    assert [each.part for each in check_machine() if each.status == WARNING][:1] == ["threads"]


@pytest.mark.parametrize(
    ("says", "status"),
    [
        ("", FAULT),
        ('openjdk version "11.0.2"', OK),
        ('java version "1.8.0_1"', OK),
        ('openjdk version "17.0.15"', WARNING),
    ],
)
def test_java_is_judged_by_the_version_that_it_says(monkeypatch, tmp_path, says, status):
    java = tmp_path / "java"
    if says:
        java.write_text(f"#!/bin/sh\necho '{says}' >&2\n")
        os.chmod(java, 0o755)
    monkeypatch.setenv("AAC_METRICS_JAVA_PATH", str(java))
    (finding,) = check_java()
    assert finding.status == status
    assert ("AAC_METRICS_JAVA_PATH" in finding.mend) is (status != OK)


def test_a_server_that_does_not_answer_is_a_warning_within_its_limit():
    start = time.perf_counter()
    (finding,) = check_network({"nobody": "http://127.0.0.1:9"}, limit_s=2.0)
    assert finding.status == WARNING and time.perf_counter() - start < 30


# --------------------------------------------------------------------------------------------------- report


def test_a_fault_counts_only_for_what_was_asked():
    java = Finding("Java", FAULT, "none", "why", "mend it", ("metrics",))
    assert java.for_purposes(["runtime", "metrics"]).status == FAULT
    assert java.for_purposes(["runtime"]).status == WARNING
    assert Finding("disk", FAULT, "full").for_purposes(["runtime"]).status == FAULT


def test_text_and_json_say_the_same():
    findings = [
        Finding("a", OK, "fine"),
        Finding("b", FAULT, "broken " * 40, "because", "rm b"),
        Finding("c", WARNING, "so"),
    ]
    report, text = as_json(findings, ["train"]), as_text(findings, ["train"])
    assert (report["n_faults"], report["n_warnings"]) == (1, 1)
    assert text.splitlines()[-1] == "1 fault, 1 warning" and "  mend: rm b" in text.splitlines()
    assert max(map(len, text.splitlines())) <= 120

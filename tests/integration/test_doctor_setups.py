"""Set-ups that are broken on purpose, each in an environment of its own: the doctor names the fault and its command."""

import shlex
import sys
from importlib import metadata

import pytest

from tests.conftest import ROOT

if sys.platform != "linux":
    pytest.skip("environments of links, limits and CUDA wheels are Linux's", allow_module_level=True)
pytest.importorskip("torch", reason="the broken set-ups are made of a working one: pip install 'tinyclap[train]'")
pytest.importorskip("onnxruntime", reason="pip install 'tinyclap[runtime]'")
sys.path.insert(0, str(ROOT / "recipes" / "doctor"))

import setups  # noqa: E402

from tinyclap.cli.doctor.requirements import wanted  # noqa: E402


def faults(report):
    """Faults by what they are in; the first where there are several."""
    found = {}
    for each in report["findings"]:
        if each["status"] == "fault":
            found.setdefault(each["part"], each)
    return found


def pip_words(mend):
    """What a command asks pip for."""
    words = shlex.split(mend)
    assert words[1:4] == ["-m", "pip", "install"]
    return words[4:]


def test_a_set_up_that_is_whole_has_no_fault(tmp_path):
    report, status = setups.healthy(tmp_path).examine()
    assert (report["n_faults"], status) == (0, 0)
    assert {"Python", "numpy", "soundfile", "soxr", "onnxruntime"} <= {each["part"] for each in report["findings"]}
    assert "torch" not in {each["part"] for each in report["findings"]}  # nobody asked for it


def test_the_doctor_itself_needs_nothing_that_may_be_missing(tmp_path):
    python, _ = setups.linked_environment(tmp_path / "env", without=("numpy", "tqdm", "soxr", "onnxruntime", "pip"))
    report, status = setups.Setup(python, ["runtime"]).examine()
    found = faults(report)
    assert status == 1 and {"numpy", "tqdm", "soxr", "onnxruntime"} <= set(found)
    assert found["numpy"]["found"] == "not installed" and "numpy>=1.26" in found["numpy"]["mend"]
    assert "No module named 'numpy'" in found["soundfile"]["found"]
    assert "ensurepip" in found["numpy"]["mend"] or found["numpy"]["mend"].startswith("uv pip install")


def test_a_torch_of_another_cuda_is_traced_through_torchaudio_to_the_message_about_bert(tmp_path):
    speechbrain = pytest.importorskip("speechbrain", reason="an extra: pip install 'tinyclap[train]'")
    report, status = setups.torch_of_another_cuda(tmp_path).examine()
    found = faults(report)
    if torch_cuda() is not None:  # a torchaudio for processors does not mind
        assert status == 1 and "99.0" in found["torchaudio"]["found"]
        assert pip_words(found["torchaudio"]["mend"]) == [wanted("torch"), wanted("torchaudio")]
        assert "BertModel" in found["transformers"]["found"] and "torchaudio" in found["transformers"]["why"]
        assert found["speechbrain"]["mend"] == "" and speechbrain.__version__ in found["speechbrain"]["found"]


def torch_cuda():
    """The CUDA that this environment's torch is built for."""
    from tinyclap.cli.doctor.torch_pair import build_of

    return build_of("torch")[1]


def test_torchaudio_without_its_cuda_libraries_is_mended_from_the_index_for_processors(tmp_path):
    pytest.importorskip("transformers", reason="an extra: pip install 'tinyclap[train]'")
    report, status = setups.cpu_torch_with_cuda_torchaudio(tmp_path).examine()
    found = faults(report)
    assert status == 1 and "torch" not in found and "libcudart.so.13" in found["torchaudio"]["found"]
    words = pip_words(found["torchaudio"]["mend"])
    assert words[-1] == wanted("torchaudio") and "https://download.pytorch.org/whl/cpu" in words
    assert found["transformers"]["why"].startswith("transformers imports torchaudio, which fails")


def test_wheels_of_cuda_without_its_libraries_are_mended_by_their_own_requirements(tmp_path):
    if torch_cuda() is None or not (setups.SITE / "nvidia").is_dir():
        pytest.skip("needs a torch of CUDA to take its libraries away")
    report, status = setups.no_cuda_libraries(tmp_path).examine()
    found = faults(report)
    assert status == 1 and "cannot open shared object file" in found["torch"]["found"]
    assert pip_words(found["torch"]["mend"]) == [f"torch=={metadata.version('torch').split('+')[0]}"]
    assert found["torchaudio"]["why"].startswith("torchaudio imports torch, which fails")


def test_no_java_is_a_fault_for_metrics_alone(tmp_path):
    pytest.importorskip("aac_metrics", reason="an extra: pip install 'tinyclap[metrics]'")
    setup = setups.no_java(tmp_path)
    report, status = setup.examine()
    assert status == 1 and list(faults(report)) == ["Java"]
    assert "install-jdk" in faults(report)["Java"]["mend"] and "SPICE" in faults(report)["Java"]["why"]
    setup.purposes = ["runtime"]
    assert setup.examine()[1] == 0


def test_a_corrupt_cache_is_mended_by_the_command_that_is_said(tmp_path):
    setup = setups.corrupt_cache(tmp_path)
    report, status = setup.examine()
    assert status == 1 and set(faults(report)) == {"cache of tinyclap", "cache of the hub"}
    commands = [each["mend"] for each in faults(report).values()]
    assert setups.mend(setup, commands)[1] == 0


def test_a_disk_without_room_is_a_fault(tmp_path):
    report, status = setups.full_disk(tmp_path).examine()
    assert status == 1 and {part.split(" for ")[0] for part in faults(report)} == {"disk"}
    assert all("cannot write" in each["found"] and each["mend"] for each in faults(report).values())

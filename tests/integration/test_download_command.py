"""``tinyclap download`` as a process of its own: fetch, check, mend, and then no network."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("huggingface_hub", reason="the hub is an extra: pip install 'tinyclap[hub]'")

from tests.local_hub import serve  # noqa: E402
from tests.unit.small_shipped import small_shipped  # noqa: E402

NAME = "me/tiny"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A hub with the shipped model, a cache that is empty at first, and a function that runs the command."""
    folder = small_shipped()
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with serve({NAME: files}) as server:
        server.cache = tmp_path_factory.mktemp("cache")
        yield server


def tinyclap(*words, **environment):
    """Run the command line: (exit status, standard output, standard error)."""
    command = [sys.executable, "-m", "tinyclap.cli.main", *map(str, words)]
    surroundings = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    done = subprocess.run(
        command, capture_output=True, text=True, env=surroundings | environment, timeout=120, check=False
    )
    return done.returncode, done.stdout, done.stderr


def blob(cache, name):
    """The file that a name of the cache's snapshot stands for."""
    return next(cache.rglob(f"snapshots/*/{name}")).resolve()


def test_fetched_checked_mended_and_then_offline(served):
    status, out, err = tinyclap("download", NAME, "--cache-dir", served.cache, HF_ENDPOINT=served.url)
    name, folder = out.strip().split("\t")
    assert status == 0 and name == NAME and os.path.isfile(f"{folder}/model.onnx"), err
    assert "Traceback" not in err and "have the SHA-256 that its config states" in err

    n_asked = len(served.asked)
    status, out, err = tinyclap("download", NAME, "--cache-dir", served.cache, "--verify", HF_ENDPOINT=served.url)
    assert status == 0 and len(served.asked) == n_asked, "--verify asked the network"

    blob(served.cache, "model.onnx").write_bytes(b"cut short")
    status, out, err = tinyclap("download", NAME, "--cache-dir", served.cache, "--verify", HF_ENDPOINT=served.url)
    assert status == 1 and out == "" and "model.onnx" in err and "run: tinyclap download me/tiny" in err

    status, out, err = tinyclap("download", NAME, "--cache-dir", served.cache, HF_ENDPOINT=served.url)
    assert status == 0 and "model.onnx broken; fetching again" in err
    assert sum("GET" in asked and "golden.npz" in asked for asked in served.asked) == 1, (
        "whole files were fetched again"
    )

    status, out, err = tinyclap("download", NAME, "--cache-dir", served.cache, HF_HUB_OFFLINE="1")
    assert status == 0 and out.strip().split("\t")[1] == folder
    assert NAME in tinyclap("download", "--list", "--cache-dir", served.cache)[1]


def test_a_revision_that_is_not_there_is_said_in_a_line(served):
    words = ("download", NAME, "--revision", "v9", "--cache-dir", served.cache)
    status, out, err = tinyclap(*words, HF_ENDPOINT=served.url)
    assert status == 1 and out == "" and "no me/tiny at revision 'v9'" in err and len(err.splitlines()) == 1


def test_what_comes_with_the_package_is_checked_without_a_network():
    status, out, err = tinyclap("download", "tinyclap-phinet-m", HF_ENDPOINT="http://127.0.0.1:9")
    assert status == 0 and out.startswith("tinyclap-phinet-m\t") and "have the SHA-256" in err


def test_without_a_network_and_without_a_name_it_says_so(tmp_path):
    status, _, err = tinyclap("download", NAME, "--cache-dir", tmp_path, HF_ENDPOINT="http://127.0.0.1:9")
    assert status == 1 and "the hub does not answer" in err and len(err.splitlines()) == 1
    status, _, err = tinyclap("download")
    assert status == 1 and "or --list" in err
    status, _, err = tinyclap("download", "no-such-model")
    assert status == 1 and "neither a folder" in err
    status, _, err = tinyclap("download", "msclap2022", "--verify", "--cache-dir", tmp_path)
    assert status == 1 and "run: tinyclap download msclap2022" in err


def test_the_list_names_what_there_is(tmp_path):
    status, out, _ = tinyclap("download", "--list", "--cache-dir", tmp_path)
    assert status == 0
    assert {"tinyclap-phinet-m", "msclap2022", "all-MiniLM-L6-v2"} <= {line.split()[0] for line in out.splitlines()}

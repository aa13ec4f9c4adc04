"""Broken set-ups on purpose: environments of Python whose packages are links to this one's, but for what is broken.

Each is a folder that can be thrown away; nothing of the environment that it is made from is touched.
"""

import hashlib
import json
import os
import re
import resource
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SITE = Path(sysconfig.get_path("purelib"))
_OURS = ("tinyclap", "__editable__")  # replaced by the checkout
_RAISES = 'raise OSError("libcudart.so.13: cannot open shared object file: No such file or directory")\n'


@dataclass
class Setup:
    """An environment that is broken in one way.

    Arguments
    ---------
    python : pathlib.Path
        Its interpreter.
    purposes : list of str
        What to examine it for.
    environment : dict of str to str
        Variables that belong to it.
    limit_bytes : int or None
        The largest file that may be written.
    """

    python: Path
    purposes: list
    environment: dict = field(default_factory=dict)
    limit_bytes: int | None = None

    def variables(self):
        """All variables of a process in it."""
        kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
        return {**kept, "PATH": f"{self.python.parent}:/usr/bin:/bin", **self.environment}

    def examine(self, *words):
        """Run ``tinyclap doctor --json`` in it: (report as a dict, exit status)."""
        command = [str(self.python), "-m", "tinyclap.cli.main", "doctor", "--json", "--for", *self.purposes, *words]

        def limited():
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.limit_bytes, self.limit_bytes))

        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            env=self.variables(),
            cwd=self.python.parent,
            preexec_fn=limited if self.limit_bytes else None,
        )
        if done.returncode not in (0, 1) or not done.stdout:
            raise RuntimeError(done.stderr)
        return json.loads(done.stdout), done.returncode


def linked_environment(folder, without=()):
    """A new environment in `folder` whose packages are links to this one's: (its python, its site-packages).

    Arguments
    ---------
    folder : pathlib.Path
    without : sequence of str
        Beginnings of names that are left out.
    """
    venv.create(folder, with_pip=False, symlinks=True)
    site = next((folder / "lib").glob("python3*")) / "site-packages"
    for path in SITE.iterdir():
        if not path.name.startswith((*_OURS, *without)):
            (site / path.name).symlink_to(path)
    (site / "tinyclap").symlink_to(ROOT / "tinyclap")
    ours = metadata.distribution("tinyclap")
    needs = "".join(f"Requires-Dist: {line}\n" for line in ours.requires)
    note = site / f"tinyclap-{ours.version}.dist-info"
    note.mkdir()
    (note / "METADATA").write_text(f"Metadata-Version: 2.1\nName: tinyclap\nVersion: {ours.version}\n{needs}")
    return folder / "bin" / "python", site


def healthy(scratch):
    """Nothing is broken: the control."""
    python, _ = linked_environment(scratch / "env")
    return Setup(python, ["runtime"], _empty_caches(scratch))


def torch_of_another_cuda(scratch):
    """This environment's torch under the version of a build for a CUDA major that torchaudio is not built for."""
    python, site = linked_environment(scratch / "env", without=("torch-2",))
    version = metadata.version("torch").split("+")[0]
    _other_build(site, version, "99.0", f"{version}+cu990")
    return Setup(python, ["train"], _empty_caches(scratch))


def _other_build(site, version, cuda, full):
    """Put this environment's torch into `site` under another version, built for another CUDA (None: for none)."""
    (site / "torch").unlink()
    (site / "torch").mkdir()
    for path in (SITE / "torch").iterdir():
        if path.name not in ("version.py", "__pycache__"):
            (site / "torch" / path.name).symlink_to(path)
    text = (SITE / "torch" / "version.py").read_text()
    text = re.sub(r"(?m)^__version__ = .*$", f"__version__ = {full!r}", text)
    (site / "torch" / "version.py").write_text(re.sub(r"(?m)^(cuda\b[^=]*=).*$", rf"\1 {cuda!r}", text))
    note = site / f"torch-{version}.dist-info"
    note.mkdir()
    (note / "METADATA").write_text(f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n")


def cpu_torch_with_cuda_torchaudio(scratch):
    """A torch for processors beside PyPI's torchaudio, which wants CUDA's libraries.

    No such torch is at hand where PyTorch's own index is out of reach: the files are this environment's under the
    version of that build, and torchaudio raises what the loader says there.
    """
    python, site = linked_environment(scratch / "env", without=("torch-2", "torchaudio"))
    version = metadata.version("torch").split("+")[0]
    _other_build(site, version, None, f"{version}+cpu")
    (site / "torchaudio").mkdir()
    (site / "torchaudio" / "__init__.py").write_text(_RAISES)
    (site / "torchaudio" / "version.py").write_text("__version__ = '2.11.1+cu130'\n")
    note = site / "torchaudio-2.11.1.dist-info"
    note.mkdir()
    (note / "METADATA").write_text("Metadata-Version: 2.1\nName: torchaudio\nVersion: 2.11.1\n")
    return Setup(python, ["train"], _empty_caches(scratch))


def no_cuda_libraries(scratch):
    """torch and torchaudio from PyPI, installed without what they need: no CUDA library is there."""
    python, site = linked_environment(scratch / "env", without=("nvidia", "cuda_toolkit"))
    # a library looks for others beside the file that it is, so a link to it would find those of CUDA after all
    (site / "torch").unlink()
    (site / "torch" / "lib").mkdir(parents=True)
    for path in [*(SITE / "torch").iterdir(), *(SITE / "torch" / "lib").iterdir()]:
        target = site / path.relative_to(SITE)
        if path.is_file() and ".so" in path.name:
            os.link(path, target)
        elif not target.exists():
            target.symlink_to(path)
    return Setup(python, ["train"], _empty_caches(scratch))


def no_java(scratch):
    """No Java."""
    python, _ = linked_environment(scratch / "env")
    nowhere = str(scratch / "no-java" / "bin" / "java")
    return Setup(python, ["metrics"], {**_empty_caches(scratch), "AAC_METRICS_JAVA_PATH": nowhere})


def corrupt_cache(scratch):
    """Fetched files that are cut short, changed or incomplete, in the hub's cache and in tinyclap's own."""
    python, _ = linked_environment(scratch / "env")
    variables = _empty_caches(scratch)
    repository = Path(variables["HF_HUB_CACHE"]) / "models--someone--tiny"
    blobs, snapshot = repository / "blobs", repository / "snapshots" / ("0" * 40)
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    model = (ROOT / "tinyclap/shipped_models/tinyclap-phinet-m/model.onnx").read_bytes()
    config = b'{"format": 1}\n'
    as_git = hashlib.sha1(b"blob %d\0" % len(config) + config, usedforsecurity=False).hexdigest()
    # the large file is cut short, the small one has another byte; a third never came to its end
    for name, blob, content in (
        ("model.onnx", hashlib.sha256(model).hexdigest(), model[: len(model) // 2]),
        ("config.json", as_git, config.replace(b"1", b"2")),
    ):
        (blobs / blob).write_bytes(content)
        (snapshot / name).symlink_to(Path("../../blobs") / blob)
    (blobs / f"{'1' * 64}.incomplete").write_bytes(bytes(1000))
    weights = Path(variables["TINYCLAP_CACHE"]) / "CLAP_weights_2022.pth"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(bytes(5000))
    weights.with_name(f"{weights.name}.md5").write_text(f"{hashlib.md5(b'whole').hexdigest()}  {weights.name}\n")
    return Setup(python, ["runtime"], variables)


def full_disk(scratch, folder=None):
    """No room for the caches.

    Arguments
    ---------
    scratch : pathlib.Path
    folder : pathlib.Path or None
        A place on a disk of less than 4 MB; None limits the size of files instead, which needs no disk.
    """
    python, _ = linked_environment(scratch / "env")
    if folder is None:
        return Setup(python, ["runtime"], _empty_caches(scratch), limit_bytes=1 << 20)
    home = scratch / "home"  # where the command may make another folder
    home.mkdir()
    return Setup(python, ["runtime"], {**_empty_caches(folder), "HOME": str(home)})


def _empty_caches(folder):
    """Variables that send all caches into a folder, where there are none yet."""
    return {
        "TINYCLAP_CACHE": str(folder / "tinyclap"),
        "HF_HOME": str(folder / "huggingface"),
        "HF_HUB_CACHE": str(folder / "huggingface" / "hub"),
    }


def mend(setup, commands):
    """Run commands in one shell and examine the set-up again in it: (report, exit status).

    Arguments
    ---------
    setup : Setup
    commands : sequence of str
        What the doctor said.
    """
    again = f"{setup.python} -m tinyclap.cli.main doctor --json --for {' '.join(setup.purposes)}"
    script = "set -e\n" + "\n".join(commands) + f"\nset +e\n{again}\n"
    done = subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env=setup.variables(),
        cwd=setup.python.parent,
    )
    return json.loads(done.stdout), done.returncode


def would_install(setup, command):
    """What pip would install by a command, without doing it: list of str; what it says where it cannot."""
    pips = command.split(" && ")[0]  # what follows it would run something
    words = pips.replace(" install ", " install --dry-run --quiet --report - ", 1)
    done = subprocess.run(
        ["bash", "-c", words], capture_output=True, text=True, check=False, env=setup.variables(), cwd=sys.prefix
    )
    if done.returncode:
        return done.stderr.strip().splitlines()[-1:]
    found = json.loads(done.stdout)["install"]
    return sorted(f"{each['metadata']['name']} {each['metadata']['version']}" for each in found)

"""Build the static page: the exported model, its label banks, the captioner and onnxruntime-web into one folder.

    python demo/build.py                          # the shipped model, into demo/dist
    python demo/build.py --model exported/mine --out site

onnxruntime-web comes from the npm registry at a pinned version with a pinned checksum, and is kept; nothing else is
fetched, and npm itself is not needed.
"""

import argparse
import base64
import hashlib
import json
import os
import re
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import soundfile

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from data_prep.soundscapes_synthesis import synthesize  # noqa: E402
from tinyclap.checkpoints.folder import checked_file, read_export  # noqa: E402
from tinyclap.config.shipped import DEFAULT_CAPTIONER, DEFAULT_MODEL, shipped_folder  # noqa: E402
from tinyclap.errors import DownloadError, TinyclapError  # noqa: E402
from tinyclap.files import cache_folder, sha256_of  # noqa: E402
from tinyclap.inference.pretrained import find_folder, from_pretrained  # noqa: E402
from tinyclap.published.download import download  # noqa: E402
from tinyclap.text.bank import compile_bank  # noqa: E402

DEMO = Path(__file__).resolve().parent
ROOT = DEMO.parent
PAGE = ("index.html", "style.css", "icon.svg", "manifest.webmanifest", "service_worker.js", "js")
ORT_VERSION = "1.30.0"
ORT_URL = f"https://registry.npmjs.org/onnxruntime-web/-/onnxruntime-web-{ORT_VERSION}.tgz"
ORT_SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
ORT_FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
BANK_TITLES = {
    "esc50": "ESC-50: 50 everyday sounds",
    "urbansound8k": "UrbanSound8K: 10 sounds of the street",
    "tut17": "TUT 2017: 15 places",
    "audioset": "AudioSet: 527 sounds",
}
EXAMPLES = {"car_horn": "car horn", "rain": "rain", "clock_tick": "clock", "glass_breaking": "breaking glass"}
EXAMPLE_S, EXAMPLE_HZ = 4.0, 32000
START = "start.npz"  # the words that the page begins with
LEFT_OUT = ("golden.npz", "background.npz")  # for checks and for long recordings: the page reads neither


def build(model=DEFAULT_MODEL, captioner=None, out=DEMO / "dist", cache=None):
    """Write the page's folder, whole or not at all.

    Arguments
    ---------
    model : str or os.PathLike
        An exported folder, or the name of a shipped model.
    captioner : str, os.PathLike or None
        Likewise; None takes the shipped one where there is one, and "" takes none.
    out : str or os.PathLike
        A folder that an earlier build wrote is replaced; any other that is not empty is refused.
    cache : str, os.PathLike or None
        Where onnxruntime-web is kept; None takes $TINYCLAP_CACHE, or ~/.cache/tinyclap.

    Returns
    -------
    dict
        What ``contents.json`` holds.

    Raises
    ------
    CheckpointError
        The model's folder is not an exported one, or is damaged.
    DownloadError
        onnxruntime-web cannot be fetched, or is another file than published.
    FileExistsError
        `out` holds something else.
    """
    out = Path(out)
    if out.exists() and any(out.iterdir()) and not (out / "contents.json").is_file():
        raise FileExistsError(f"{out} holds something else than a page; name another folder with --out")
    engine = fetch_engine(Path(cache) if cache else cache_folder())
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".page-") as part:
        page = Path(part) / "page"
        contents = _write(page, engine, find_folder(model), _captioner(captioner))
        if out.exists():
            os.replace(out, Path(part) / "old")
        os.replace(page, out)
    return contents


def fetch_engine(cache):
    """Path of the archive of onnxruntime-web, fetched once; raises DownloadError where it is not the published one."""
    archive = download(ORT_URL, cache / f"onnxruntime-web-{ORT_VERSION}.tgz")
    with open(archive, "rb") as file:
        found = base64.b64encode(hashlib.file_digest(file, "sha512").digest()).decode()
    if found != ORT_SHA512:
        raise DownloadError(f"{archive}: its SHA-512 is not the published one; remove the file and run this again")
    return archive


def _captioner(name):
    if name is None:
        return shipped_folder(DEFAULT_CAPTIONER)
    return find_folder(name) if name else None


def _write(page, engine, model, captioner):
    page.mkdir()
    for name in PAGE:
        (shutil.copytree if (DEMO / name).is_dir() else shutil.copy)(DEMO / name, page / name)
    _unpack(engine, page)
    _copy_model(model, page / "models" / "audio")
    if captioner is not None:
        _copy_model(captioner, page / "models" / "captioner")
    banks, examples = _copy_banks(model, page), _write_examples(page / "examples")
    start = _write_start(model, page)
    files = sorted(path.relative_to(page).as_posix() for path in page.rglob("*") if path.is_file())
    digest = hashlib.sha256("".join(name + sha256_of(page / name) for name in files).encode())
    contents = {
        "version": digest.hexdigest()[:16],
        "name": Path(model).name,
        "model": "models/audio/",
        "captioner": None if captioner is None else "models/captioner/",
        "start": start,
        "banks": banks,
        "examples": examples,
        "size_bytes": sum((page / name).stat().st_size for name in files),
        "files": files,
    }
    worker = page / "service_worker.js"
    script = worker.read_text(encoding="utf-8").replace('"unbuilt"', json.dumps(contents["version"]))
    worker.write_text(script, encoding="utf-8")
    (page / "contents.json").write_text(json.dumps(contents, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return contents


def _unpack(archive, page):
    """The engine's three files, and its notice."""
    (page / "ort").mkdir()
    with tarfile.open(archive) as content:
        for name in ORT_FILES:
            (page / "ort" / name).write_bytes(content.extractfile(f"package/dist/{name}").read())
    notice = f"onnxruntime-web {ORT_VERSION}, © Microsoft Corporation, MIT licence: https://onnxruntime.ai\n"
    models = (ROOT / "tinyclap" / "shipped_models" / "THIRD_PARTY.md").read_text(encoding="utf-8")
    (page / "THIRD_PARTY.txt").write_text(f"{notice}\n{models}", encoding="utf-8")


def _copy_model(folder, target):
    """The files that the page reads, each compared with its checksum."""
    config = read_export(folder)
    target.mkdir(parents=True)
    best = {name for key, name in config["graphs"].items() if key != "int8"}
    for name in config["files"]:
        is_other_graph = name in config["graphs"].values() and name not in best
        if name in LEFT_OUT or is_other_graph or name.startswith("banks/"):
            continue
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(checked_file(folder, config, name), target / name)
    shutil.copy(Path(folder) / "config.json", target / "config.json")


def _copy_banks(model, page):
    """Copy ready banks; their files and titles, for the page's list."""
    banks = []
    for path in sorted((Path(model) / "banks").glob("*.npz")):
        (page / "banks").mkdir(exist_ok=True)
        shutil.copy(path, page / "banks" / path.name)
        banks.append({"file": f"banks/{path.name}", "title": BANK_TITLES.get(path.stem, path.stem)})
    return banks


def _write_start(model, page):
    """Compile the words that stand in the page, so that it need not open the text tower for them; None without one."""
    opened = from_pretrained(model, n_threads=1)
    if opened.backend.text is None:
        return None
    words = re.search(r'<textarea id="own"[^>]*>(.*?)</textarea>', (page / "index.html").read_text("utf-8"), re.DOTALL)
    names = [" ".join(name.split()) for name in words[1].split(",")]
    compile_bank(opened, names).save(page / START)
    return START


def _write_examples(folder):
    """Synthesise the sounds to try; their files and titles."""
    folder.mkdir()
    for name in EXAMPLES:
        sound = synthesize(name, np.random.default_rng(0), round(EXAMPLE_S * EXAMPLE_HZ), EXAMPLE_HZ)
        loud = 0.3 * sound / np.abs(sound).max()
        soundfile.write(folder / f"{name}.wav", loud.astype(np.float32), EXAMPLE_HZ, subtype="PCM_16")
    return [{"file": f"examples/{name}.wav", "title": title} for name, title in EXAMPLES.items()]


def main(arguments=None):
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default=DEFAULT_MODEL, help="exported folder, or shipped model (%(default)s)")
    parser.add_argument("--captioner", help="exported captioner (the shipped one, where there is one; '' for none)")
    parser.add_argument("--out", default=DEMO / "dist", help="folder of the page (demo/dist)")
    parser.add_argument("--cache", help="where onnxruntime-web is kept (~/.cache/tinyclap)")
    options = parser.parse_args(arguments)
    try:
        contents = build(options.model, options.captioner, options.out, options.cache)
    except (TinyclapError, OSError) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 1
    sys.stdout.write(f"{options.out}: {len(contents['files'])} files, {contents['size_bytes'] / 1e6:.1f} MB\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The shipped model without what only free text needs, copied once for all tests of a process: quick to copy again."""

import json
import shutil
import tempfile
from functools import cache
from pathlib import Path

from tinyclap.config.shipped import shipped_folder


@cache
def _scratch():
    """A folder that lives as long as the process; the object that removes it is kept with it."""
    return tempfile.TemporaryDirectory(prefix="tinyclap-shipped-")


@cache
def small_shipped():
    """The folder: graphs, labels and golden clips of tinyclap-phinet-m."""
    source, folder = shipped_folder("tinyclap-phinet-m"), Path(_scratch().name) / "model"
    folder.mkdir()
    config = json.loads((source / "config.json").read_text("utf-8"))
    text = config.pop("text", {})
    left_out = {text.get("graph"), text.get("vocabulary"), "tag_space.npz"}
    config["files"] = {name: sha256 for name, sha256 in config["files"].items() if name not in left_out}
    for name in config["files"]:
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(source / name, folder / name)
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    return folder

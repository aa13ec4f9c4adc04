"""The clips of a run: read from manifests, split by recording, packed into arrays that forked loader workers share."""

import json
import zlib
from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from tinyclap.data.manifest import read_manifest
from tinyclap.errors import ManifestError


def read_items(manifests):
    """All items of several (manifest, data_root), one at least: id → item, ids prefixed by the manifest's name."""
    items = {}
    for path, data_root in manifests:
        manifest = read_manifest(path, data_root)
        for item in manifest.items:
            name = f"{path.stem}/{item['id']}"
            items[name] = {**{key: item[key] for key in ("wav", "duration_s")}, "captions": item.get("captions")}
            items[name]["group"] = f"{manifest.meta['dataset']}/{item.get('group') or item.get('freesound_id') or name}"
    if not items:
        raise ManifestError(f"no clips in {len(manifests)} manifest(s): {[str(path) for path, _ in manifests]}")
    return items


def hold_out(items, fraction):
    """(training, validation) items: a fraction in [0, 1) of the groups, chosen by their names alone."""
    held = {name: item for name, item in items.items() if zlib.crc32(item["group"].encode()) / 2**32 < fraction}
    return {name: item for name, item in items.items() if name not in held}, held


def require_both(train, valid):
    """Refuse a run without clips to train or to validate on."""
    if not train or not valid:
        raise ManifestError(
            f"{len(train)} training and {len(valid)} validation clips; both are needed: name a corpus with a "
            "validation part, or change valid_fraction"
        )


class ItemTable(Mapping):
    """`items`, name → JSON-able value (paths as str), decoded at each access from arrays that forked workers share."""

    def __init__(self, items):
        self._names = np.array([name.encode() for name in items], dtype=np.bytes_)
        self._order = np.argsort(self._names)
        self._texts = pa.array([json.dumps(item, default=str) for item in items.values()], pa.large_string())

    def __len__(self):
        return len(self._names)

    def __iter__(self):
        return map(self.name, range(len(self)))

    def __getitem__(self, name):
        key = name.encode() if isinstance(name, str) else b""
        place = self._names.searchsorted(key, sorter=self._order)
        if place == len(self) or bytes(self._names[self._order[place]]) != key:
            raise KeyError(name)
        return json.loads(self._texts[int(self._order[place])].as_py())

    def name(self, place):
        """The name at a place of their order."""
        return bytes(self._names[place]).decode()

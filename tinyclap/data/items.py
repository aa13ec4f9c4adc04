"""The clips of a run: read from manifests, split by recording, packed into arrays that forked loader workers share."""

import json
import zlib
from collections.abc import Mapping

import numpy as np

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


class NameIndex:
    """Unique names, in their order, in arrays; ``position(name)``, or None, is the inverse of ``index[position]``.

    Example
    -------
    >>> index = NameIndex(["b", "a"])
    >>> index[0], index.position("a"), index.position("c")
    ('b', 1, None)
    """

    def __init__(self, names):
        self._names = np.array([name.encode() for name in names], dtype=np.bytes_)
        self._order = np.argsort(self._names, kind="stable")
        self._sorted = self._names[self._order]

    def __len__(self):
        return len(self._names)

    def __getitem__(self, position):
        return bytes(self._names[position]).decode()

    def position(self, name):
        """The place of a name, or None."""
        if not isinstance(name, str):
            return None
        name = name.encode()
        place = int(self._sorted.searchsorted(name))
        return int(self._order[place]) if place < len(self._sorted) and self._sorted[place] == name else None


class ItemTable(Mapping):
    """`items`, name → JSON-able dict, decoded at each access (reference counts copy a dict of dicts); paths become str.

    Example
    -------
    >>> table = ItemTable({"b": {"wav": "b.wav"}, "a": {"wav": "a.wav"}})
    >>> table["a"], list(table), "c" in table, table.names[0]
    ({'wav': 'a.wav'}, ['b', 'a'], False, 'b')
    """

    def __init__(self, items):
        self.names = NameIndex(items)
        texts = [json.dumps(item, ensure_ascii=False, default=str).encode() for item in items.values()]
        self._ends = np.cumsum([0, *map(len, texts)])
        self._text = np.frombuffer(b"".join(texts), dtype=np.uint8)

    def __len__(self):
        return len(self.names)

    def __iter__(self):
        return iter(self.names)

    def __contains__(self, name):
        return self.names.position(name) is not None

    def __getitem__(self, name):
        place = self.names.position(name)
        if place is None:
            raise KeyError(name)
        return json.loads(self._text[self._ends[place] : self._ends[place + 1]].tobytes())

"""A corpus' items packed into arrays, which forked loader workers share (reference counts copy a dict of dicts)."""

import json
from collections.abc import Mapping, Sequence

import numpy as np


class ItemTable(Mapping):
    """The `items` of a corpus, name → JSON-able dict, decoded at each access; paths become str.

    Example
    -------
    >>> table = ItemTable({"b": {"wav": "b.wav"}, "a": {"wav": "a.wav"}})
    >>> table["a"], list(table), "c" in table, table.names[0]
    ({'wav': 'a.wav'}, ['b', 'a'], False, 'b')
    """

    def __init__(self, items):
        self._names = np.array([name.encode() for name in items], dtype=np.bytes_)
        self._order = np.argsort(self._names, kind="stable")
        self._sorted = self._names[self._order]
        texts = [json.dumps(item, ensure_ascii=False, default=str).encode() for item in items.values()]
        self._ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
        self._text = np.frombuffer(b"".join(texts), dtype=np.uint8)
        self.names = _Names(self._names)

    def __len__(self):
        return len(self._names)

    def __iter__(self):
        return iter(self.names)

    def __getitem__(self, name):
        place = int(np.searchsorted(self._sorted, name.encode())) if isinstance(name, str) else len(self)
        if place == len(self) or self._sorted[place] != name.encode():
            raise KeyError(name)
        return self._item(int(self._order[place]))

    def _item(self, index):
        begin = int(self._ends[index - 1]) if index else 0
        return json.loads(self._text[begin : int(self._ends[index])].tobytes())


class _Names(Sequence):
    """The names of a table, in its order."""

    def __init__(self, names):
        self._names = names

    def __len__(self):
        return len(self._names)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [bytes(name).decode() for name in self._names[index]]
        return bytes(self._names[index]).decode()

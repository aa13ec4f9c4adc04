"""A search index of given rows, without recordings."""

from tinyclap.search.database import Database, Recording
from tinyclap.search.index import SearchIndex


def of_rows(folder, rows, dtype="float32", score="dot"):
    """An index of these rows (n, D), of recordings /data/00000000.wav and on."""
    identity = {"name": "none", "sha256": "0", "score": score, "embed_dim": rows.shape[1]}
    made = Database.create(folder, identity, dtype)
    made.write([(Recording(f"/data/{n:08d}.wav", "/data", "1", 1, 1), row) for n, row in enumerate(rows)])
    return SearchIndex.open(folder)

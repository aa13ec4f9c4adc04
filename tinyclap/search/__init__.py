"""A search index of audio embeddings in one SQLite file; see :mod:`tinyclap.search.index`."""

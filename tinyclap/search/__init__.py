"""Parts of the search index: the folder on disk, its upkeep, and nearest neighbours; see `tinyclap.search.index`."""

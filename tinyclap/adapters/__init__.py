"""tinyclap in the manner of other libraries: :mod:`tinyclap.adapters.speechbrain`, :mod:`tinyclap.adapters.sklearn`."""

"""Models of tinyclap as ONNX graphs in folders that :mod:`tinyclap.runtime` runs without torch."""

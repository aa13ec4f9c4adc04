"""Networks as their authors released them, loaded by name."""

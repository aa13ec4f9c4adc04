"""Pruning of the shared embedding space: ranking of dimensions, curves, removal."""

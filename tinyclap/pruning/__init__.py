"""Pruning of the shared embedding space: ranking of dimensions, accuracy curves, removal, exactness."""

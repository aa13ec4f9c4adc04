"""Manifests of the corpora, and the pipeline that turns them into batches."""

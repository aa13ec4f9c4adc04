"""Corpora, views of their clips, cached teacher targets, and the datasets and batches of every recipe."""

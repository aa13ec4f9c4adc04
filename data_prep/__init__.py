"""Preparation of corpora: one script for each, from the published folder to a manifest."""

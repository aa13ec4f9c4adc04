"""Metrics of classification and captioning, overlap between data sets, and cost of networks."""

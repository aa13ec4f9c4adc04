"""Metrics of classification and captioning, overlap between data sets, and cost of networks."""

from tinyclap.metrics.classification import accuracy, accuracy_by, bootstrap_interval, mcnemar, paired_difference

__all__ = ["accuracy", "accuracy_by", "bootstrap_interval", "mcnemar", "paired_difference"]

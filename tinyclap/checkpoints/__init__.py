"""Saved models: strict loading of weights, and folders that rebuild their own model."""

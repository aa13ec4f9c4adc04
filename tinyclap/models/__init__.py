"""Encoders, heads and towers in plain PyTorch; each file states the published model that it equals."""

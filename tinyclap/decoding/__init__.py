"""Greedy and beam search for caption decoders."""

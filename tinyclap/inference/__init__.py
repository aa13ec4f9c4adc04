"""Models ready to use: :func:`tinyclap.from_pretrained`, model cards, the hub, linear probes."""

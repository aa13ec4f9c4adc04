"""tinyclap: big audio-language models made tiny, by distillation of their audio encoder.

Source: Paissan & Farella, "tinyCLAP: Distilling Contrastive Language-Audio Pretrained Models", Interspeech 2024;
Xu et al., "Efficient Audio Captioning with Encoder-Level Knowledge Distillation", Interspeech 2024.

Shape letters used in every docstring: B clips, T samples, F frames, M mel bins, D dimensions of the shared
embedding, C channels or features, L tokens, N classes. Waveforms are (B, T), log-mel spectrograms (B, F, M):
batch first, time second. Units stand in names: ``_s``, ``_hz``, ``_ms``, ``_db``; counts begin with ``n_``.

``import tinyclap`` imports numpy at most: what needs torch is loaded when it is used.
"""

__version__ = "0.1.0"

__all__ = ["__version__", "from_pretrained", "load_published"]


def __getattr__(name):
    if name == "from_pretrained":
        from tinyclap.inference.pretrained import from_pretrained

        return from_pretrained
    if name == "load_published":
        from tinyclap.published.networks import load_published

        return load_published
    raise AttributeError(f"module 'tinyclap' has no attribute {name!r}")

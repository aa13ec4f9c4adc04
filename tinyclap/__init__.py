"""tinyclap: big audio-language models made tiny, by distillation of their audio encoder.

Source: Paissan & Farella, "tinyCLAP: Distilling Contrastive Language-Audio Pretrained Models", Interspeech 2024;
Xu et al., "Efficient Audio Captioning with Encoder-Level Knowledge Distillation", Interspeech 2024.

Shape letters used in every docstring: B clips, T samples, F frames, M mel bins, D dimensions of the shared
embedding, C channels or features, L tokens, N classes. Waveforms are (B, T), log-mel spectrograms (B, F, M):
batch first, time second. Units stand in names: ``_s``, ``_hz``, ``_ms``, ``_db``; counts begin with ``n_``.

``import tinyclap`` imports numpy at most: what needs torch is loaded when it is used.
"""

from typing import TYPE_CHECKING

from tinyclap.config.renamed import install_renamed_modules, lazy_names

__version__ = "0.1.0"

__all__ = ["SoundModel", "__version__", "from_pretrained", "load_published"]

if TYPE_CHECKING:
    from tinyclap.inference.pretrained import from_pretrained
    from tinyclap.inference.sound_model import SoundModel
    from tinyclap.published.networks import load_published
else:
    install_renamed_modules()
    __getattr__, __dir__ = lazy_names(
        __name__,
        SoundModel="inference.sound_model",
        from_pretrained="inference.pretrained",
        load_published="published.networks",
    )

"""Audio input: reading, resampling, windows, batches, finding files. No torch."""

from typing import TYPE_CHECKING

from tinyclap.config.renamed import lazy_names

if TYPE_CHECKING:
    from tinyclap.audio.batch import embed_many as embed_many
    from tinyclap.audio.io import AudioInfo as AudioInfo
    from tinyclap.audio.io import probe as probe
    from tinyclap.audio.io import read_audio as read_audio
else:
    __getattr__, __dir__ = lazy_names(__name__, AudioInfo="io", probe="io", read_audio="io", embed_many="batch")

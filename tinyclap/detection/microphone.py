"""Microphone by the optional library sounddevice (PortAudio); at most 30 s of audio wait for the model."""

import queue

import numpy as np

from tinyclap.audio.io import mean_of_channels, require_rate
from tinyclap.detection.sources import Source
from tinyclap.errors import AudioError, ConfigError

_PIPE = "arecord -f S16_LE -r 48000 | tinyclap listen -"
_BLOCK_S = 0.1
_MAX_WAITING_S = 30.0


def microphone_source(device: int | str | None = None, rate_hz: int | None = None) -> Source:
    """A microphone as an endless :class:`~tinyclap.detection.sources.Source`.

    `device` is its number or a part of its name, None the system's own; `rate_hz` None takes the device's own.
    ConfigError: sounddevice or PortAudio is not installed. AudioError: there is no such device, or it refuses.
    """
    try:
        import sounddevice
    except ImportError as error:
        advice = f"pip install 'tinyclap[microphone]'; or pipe: {_PIPE}"
        raise ConfigError(f"the microphone needs the library sounddevice: {advice}") from error
    except OSError as error:
        raise ConfigError(f"sounddevice lacks PortAudio ({error}); on Debian: apt install libportaudio2") from error
    if rate_hz is not None:
        require_rate("microphone", rate_hz)
    try:
        found = sounddevice.query_devices(device, "input")
        rate_hz = round(rate_hz or found["default_samplerate"])
        sounddevice.check_input_settings(device=device, channels=1, samplerate=rate_hz)
    except (sounddevice.PortAudioError, ValueError) as error:
        advice = f"the devices are listed by: python -m sounddevice; or pipe: {_PIPE}"
        raise AudioError("microphone", f"{error}; {advice}") from error
    return Source("microphone", rate_hz, _blocks(sounddevice, device, rate_hz))


def _blocks(sounddevice, device, rate_hz):
    waiting = queue.Queue(maxsize=round(_MAX_WAITING_S / _BLOCK_S))
    lost = []

    def keep(samples, _n_frames, _time, status):
        # in PortAudio's own thread: nothing here may wait
        try:
            waiting.put_nowait(samples.copy())
        except queue.Full:
            lost.append("the model is slower than the sound")
        if status.input_overflow:
            lost.append("the system dropped samples")

    options = {"device": device, "channels": 1, "samplerate": rate_hz, "dtype": "float32", "callback": keep}
    with sounddevice.InputStream(blocksize=round(_BLOCK_S * rate_hz), **options):
        while not lost:
            yield np.ascontiguousarray(mean_of_channels(waiting.get()))
    raise AudioError("microphone", f"samples were lost ({lost[0]}), so times would be wrong; take a larger --hop")

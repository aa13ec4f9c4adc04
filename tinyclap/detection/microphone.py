"""Microphone by the optional library sounddevice (PortAudio); at most 30 s of audio wait for the model."""

import queue

from tinyclap.errors import AudioError, ConfigError

_PIECE_S = 0.1
_MAX_WAITING_S = 30.0


def recorded(device=None, rate_hz=None):
    """Begin to record; see :func:`tinyclap.detection.sources.microphone_source`.

    Returns
    -------
    int
        The rate, in Hz.
    iterator of numpy.ndarray, each of shape (n, channels), float32
    """
    sounddevice = _library()
    try:
        found = sounddevice.query_devices(device, "input")
        rate_hz = round(rate_hz or found["default_samplerate"])
        sounddevice.check_input_settings(device=device, channels=1, samplerate=rate_hz)
    except (sounddevice.PortAudioError, ValueError) as error:
        raise AudioError(
            "microphone",
            f"{error}; the devices are listed by: python -m sounddevice; or pipe: "
            "arecord -f S16_LE -r 48000 | tinyclap listen -",
        ) from error
    return rate_hz, _blocks(sounddevice, device, rate_hz)


def _blocks(sounddevice, device, rate_hz):
    waiting = queue.Queue(maxsize=round(_MAX_WAITING_S / _PIECE_S))
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
    with sounddevice.InputStream(blocksize=round(_PIECE_S * rate_hz), **options):
        while not lost:
            yield waiting.get()
    raise AudioError("microphone", f"samples were lost ({lost[0]}), so times would be wrong; take a larger --hop")


def _library():
    try:
        import sounddevice
    except ImportError as error:
        raise ConfigError(
            "the microphone needs the library sounddevice: pip install 'tinyclap[microphone]'; or pipe: "
            "arecord -f S16_LE -r 48000 | tinyclap listen -"
        ) from error
    except OSError as error:
        raise ConfigError(f"sounddevice lacks PortAudio ({error}); on Debian: apt install libportaudio2") from error
    return sounddevice

"""Recordings of any format, rate and channel count read as mono float32, with errors that say what to do.

Needs numpy, soundfile and soxr; no torch. What cannot be a recording (missing, empty, cut short, NaN samples) is
refused here, so that no other module has to ask.
"""

import os
import shlex
import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import soxr

from tinyclap.errors import AudioError

# A stream written through a pipe keeps one of these in place of the length, which is then unknown, not wrong.
_UNKNOWN_LENGTHS = (0, 0x7FFFFFFF, 0x7FFFFFFF - 36, 0xFFFFFFFF, 0xFFFFFFFF - 36)
# Frames of an MP3 are estimated from its first ones where no length is written.
_SLACK_S = {"MP3": 0.1}


class AudioInfo(NamedTuple):
    """What the header of a recording says.

    Fields: ``n_samples`` (per channel), ``sample_rate_hz``, ``n_channels``, ``duration_s``, ``subtype`` (coding of the
    samples as libsndfile names it, such as ``PCM_24``).
    """

    n_samples: int
    sample_rate_hz: int
    n_channels: int
    duration_s: float
    subtype: str


def probe(path):
    """Read the header of a recording, and compare it with the size of the file.

    Arguments
    ---------
    path : str or os.PathLike

    Returns
    -------
    AudioInfo

    Raises
    ------
    AudioError
        Missing, of zero length, not audio, without samples, or a WAV file that ends before its data chunk does.

    Notes
    -----
    A cut FLAC or MP3 file shows only when it is decoded: :func:`read_audio` says so. A cut Ogg file cannot be told
    from a shorter one.

    Example
    -------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     soundfile.write(f"{folder}/stereo.wav", np.zeros((800, 2)), 8000, subtype="PCM_24")
    ...     probe(f"{folder}/stereo.wav")
    AudioInfo(n_samples=800, sample_rate_hz=8000, n_channels=2, duration_s=0.1, subtype='PCM_24')
    """
    with _opened(path) as file:
        return _info(file)


def read_audio(path, sample_rate_hz=None, start_s=0.0, duration_s=None):
    """Read a recording, or a part of it, as mono.

    Arguments
    ---------
    path : str or os.PathLike
        Anything libsndfile reads: WAV, FLAC, Ogg, Opus, MP3, AIFF.
    sample_rate_hz : int or None
        Rate of the result; None keeps the rate of the file.
    start_s : float
        Where the part begins; samples before it are skipped, not decoded.
    duration_s : float or None
        Length of the part; None reads to the end. A part that reaches beyond the end stops there.

    Returns
    -------
    wav : numpy.ndarray, shape (T,), float32
        Mean of the channels; in [-1, 1] for integer codings.
    sample_rate_hz : int

    Raises
    ------
    AudioError
        The file cannot be used (see :func:`probe`), ends early, has NaN or infinite samples, or has no samples in
        the part that is asked for.

    Notes
    -----
    Resampled after the part is cut: the part's two ends meet silence.

    Example
    -------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     soundfile.write(f"{folder}/stereo.wav", np.tile([0.5, -0.25], (8000, 1)), 8000)
    ...     wav, rate = read_audio(f"{folder}/stereo.wav", start_s=0.5)
    >>> wav.shape, rate, float(wav[0])
    ((4000,), 8000, 0.125)
    """
    with _opened(path) as file:
        rate = file.samplerate
        samples = _decode(file, path, start_s, duration_s)
    wav = mean_of_channels(samples)
    _require_finite(path, wav, rate, start_s)
    if sample_rate_hz is not None and sample_rate_hz != rate:
        if sample_rate_hz < 1:
            raise AudioError(path, f"cannot be resampled to {sample_rate_hz} Hz; ask for a rate above zero")
        wav = soxr.resample(wav, rate, sample_rate_hz, quality="HQ")
        rate = int(sample_rate_hz)
    return np.ascontiguousarray(wav, dtype=np.float32), rate


def mean_of_channels(samples):
    """The mean of channels that lie side by side.

    Arguments
    ---------
    samples : numpy.ndarray, shape (T, C), float32

    Returns
    -------
    numpy.ndarray, shape (T,), float32
        The same bits as ``samples.mean(axis=1)``, which takes fifty times as long for two channels.

    Example
    -------
    >>> mean_of_channels(np.array([[0.5, -0.25]], np.float32)).tolist()
    [0.125]
    """
    n_channels = samples.shape[1]
    if n_channels == 1:
        return samples[:, 0]
    if n_channels >= 8:  # from here on numpy adds in another order, and is quick
        return samples.mean(axis=1, dtype=np.float32)
    total = samples[:, 0] + samples[:, 1]
    for channel in range(2, n_channels):
        total += samples[:, channel]
    total /= np.float32(n_channels)
    return total


def read_channels(path):
    """Read a recording at its own rate, its channels apart.

    Arguments
    ---------
    path : str or os.PathLike

    Returns
    -------
    channels : numpy.ndarray, shape (channels, T), float32
        In [-1, 1] for integer codings.
    sample_rate_hz : int

    Raises
    ------
    AudioError
        The file cannot be used (see :func:`probe`), ends early, or has NaN or infinite samples.

    Example
    -------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     soundfile.write(f"{folder}/stereo.wav", np.tile([0.5, -0.25], (800, 1)), 8000)
    ...     channels, rate = read_channels(f"{folder}/stereo.wav")
    >>> channels.shape, rate, channels[:, 0].tolist()
    ((2, 800), 8000, [0.5, -0.25])
    """
    with _opened(path) as file:
        rate = file.samplerate
        samples = _decode(file, path, 0.0, None)
    for channel in samples.T:
        _require_finite(path, channel, rate, 0.0)
    return np.ascontiguousarray(samples.T), rate


def _require_finite(path, wav, rate, start_s):
    finite = np.isfinite(wav)
    if not finite.all():
        first = int(np.argmin(finite))
        raise AudioError(
            path,
            f"{wav.size - int(finite.sum())} samples are NaN or infinite, the first at {start_s + first / rate:.3f} s; "
            "write the file again from its source, or leave it out",
        )


def _info(file):
    return AudioInfo(file.frames, file.samplerate, file.channels, file.frames / file.samplerate, file.subtype)


def _opened(path):
    """Open a recording that has been checked as far as its header goes."""
    path = Path(path)
    if not path.exists():
        raise AudioError(path, "no such file; check the path, or prepare the corpus again")
    if path.is_dir():
        raise AudioError(path, "is a folder, not a recording")
    n_bytes = path.stat().st_size
    if n_bytes == 0:
        raise AudioError(path, "the file is empty (0 bytes); fetch it again, or leave it out")
    try:
        # as bytes: a name need not be UTF-8, and soundfile encodes strings strictly
        file = soundfile.SoundFile(path if os.name == "nt" else os.fsencode(path))
    except (soundfile.SoundFileError, OSError) as error:
        raise AudioError(path, _why_undecodable(path, error)) from error
    try:
        if file.format.startswith(("WAV", "RF64")):
            _check_data_chunk(path, n_bytes)
        if file.frames == 0:
            raise AudioError(path, "holds no samples (0 frames); fetch it again, or leave it out")
    except AudioError:
        file.close()
        raise
    return file


def _decode(file, path, start_s, duration_s):
    """Decode the wanted frames, (frames, channels), and none before or after them."""
    start = round(start_s * file.samplerate)
    wanted = file.frames - start
    if duration_s is not None:
        wanted = min(wanted, round(duration_s * file.samplerate))
    if start < 0 or wanted < 1:
        length_s = file.frames / file.samplerate
        part = f"start_s={start_s}, duration_s={duration_s}"
        raise AudioError(path, f"has no samples in the part asked for ({part}); the recording has {length_s:.3f} s")
    try:
        if start:
            file.seek(start)
        samples = file.read(wanted, dtype="float32", always_2d=True)
    except soundfile.SoundFileError as error:
        raise AudioError(path, f"is damaged or cut short ({_reason(error)}); fetch it again") from error
    missing = wanted - len(samples)
    if missing > _SLACK_S.get(file.format, 0.0) * file.samplerate or not len(samples):
        raise AudioError(path, f"is cut short: its header promises {wanted} more samples, {len(samples)} are there")
    return samples


def _check_data_chunk(path, n_bytes):
    """Raise if the data chunk of a RIFF file reaches beyond the end of the file.

    libsndfile shortens such a recording without a word, and a shortened recording is a wrong one.
    """
    with open(path, "rb") as file:
        order = ">" if file.read(12)[:4] == b"RIFX" else "<"
        block_align = 1
        while len(header := file.read(8)) == 8:
            name, size = struct.unpack(f"{order}4sI", header)
            if name == b"data":
                there = n_bytes - file.tell()
                # Less than one frame is what a sloppy writer rounds away; more is lost sound.
                if size not in _UNKNOWN_LENGTHS and size - there >= block_align:
                    raise AudioError(
                        path,
                        f"is cut short: its header promises {size} bytes of samples, {there} are there; fetch it again",
                    )
                return
            body = file.read(size + size % 2) if name == b"fmt " else file.seek(size + size % 2, os.SEEK_CUR)
            if name == b"fmt " and len(body) >= 14:
                block_align = max(1, struct.unpack(f"{order}H", body[12:14])[0])


def _why_undecodable(path, error):
    """Say why libsndfile refuses the file, and what to do."""
    with open(path, "rb") as file:
        start = file.read(64)
    target = path.with_suffix(".fixed.wav" if path.suffix == ".wav" else ".wav")
    command = shlex.join(["ffmpeg", "-i", str(path), "-vn", str(target)])
    if start[4:8] == b"ftyp":
        return f"is an MPEG-4 file (m4a, mp4), which libsndfile does not read; convert it: {command}"
    if start[:4] == b"\x1a\x45\xdf\xa3":
        return f"is a Matroska or WebM file, which libsndfile does not read; convert it: {command}"
    if start.lstrip()[:1] in (b"<", b"{") or start.startswith(b"version https://git-lfs"):
        return "is text, not audio: a download that failed leaves such a page; fetch it again"
    return f"cannot be read as audio ({_reason(error)}); fetch it again, or convert it: {command}"


def _reason(error):
    """The message of libsndfile without the path, which the error names already."""
    return str(getattr(error, "error_string", "") or error).strip().rstrip(".") or type(error).__name__

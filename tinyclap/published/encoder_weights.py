"""Where an encoder's first weights come from: a published tagger, or a run of ours.

Source: github.com/fschmid56/EfficientAT (``mn04_as_mAP_432.pt`` …); github.com/richermans/HEAR2021_EfficientLatent
(``effb2.pt``, with which the captioning paper's student begins); github.com/XinhaoMei/WavCaps (HTSAT-BART, its
teacher).
"""

from pathlib import Path

from tinyclap.checkpoints.state import load_student, read_state_dict, strict_load
from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.published.networks import EfficientAtMn
from tinyclap.published.wavcaps import WavcapsHtsatBart

_PREFIX = "audio.encoder."


class EncoderWeights:
    """First weights of an encoder, for a YAML's ``load_weights``: they come before a checkpoint is resumed from.

    Arguments
    ---------
    encoder : torch.nn.Module
        An encoder of ours.
    weights : str or os.PathLike, optional
        A run's or released folder of ours, whose encoder is of the same kind and size, or a published file: of
        EfficientAT's "mn" for a MobileNet, of HEAR2021's EfficientLatent for an EfficientNet-B2, WavCaps' HTSAT-BART
        for an Htsat. None leaves the encoder as it is.

    Example
    -------
    >>> EncoderWeights(None, None).load()
    """

    def __init__(self, encoder, weights=None):
        self.encoder, self.weights = encoder, weights

    def load(self):
        """Fill the encoder strictly: every tensor of it, from the file.

        Raises
        ------
        CheckpointError
            The file is missing or does not fit; nothing was loaded then.
        """
        if self.weights is None:
            return
        if Path(self.weights).is_dir():
            student, _ = load_student(self.weights)
            audio = getattr(student, "audio", student)
            if getattr(audio, "encoder", None) is None:
                raise CheckpointError(f"{self.weights}: a {type(student).__name__} has no encoder to begin with")
            strict_load(self.encoder, audio.encoder.state_dict(), None, _CLASSIFIERS, str(self.weights))
            return
        kind = type(self.encoder).__name__
        if kind not in _PUBLISHED_NAMES:
            raise ConfigError(f"no published file is known for a {kind}; give the folder of a run of ours")
        name, extra = _PUBLISHED_NAMES[kind]
        strict_load(self.encoder, read_state_dict(self.weights), name, extra, str(self.weights))


def _mobilenet_name(name):
    return EfficientAtMn.published_name(_PREFIX + name)


def _effnet_name(name):
    return name.removeprefix("backbone.eff_net.").removeprefix("eff_net.")


def _htsat_name(name):
    return WavcapsHtsatBart.published_name(f"encoder.{name}")


# Of HTSAT-BART: what writes, and the tags that HTS-AT itself was trained on.
_WRITER = (r"^decoder\.", r"^enc_to_dec_proj\.", r"^encoder\.audio_enc\.(tscam_conv|head)\.")
# A captioner has no classifier, and its front end is its own.
_CLASSIFIERS = (r"^classifier\.", r"^fc_audioset\.")
_PUBLISHED_NAMES = {
    "MobileNet": (_mobilenet_name, _CLASSIFIERS),
    "EfficientNetB2": (_effnet_name, (r"^front_end\.", r"^_fc\.", r"^classifier\.")),
    "Htsat": (_htsat_name, (*WavcapsHtsatBart.allowed_extra, *_WRITER)),
}

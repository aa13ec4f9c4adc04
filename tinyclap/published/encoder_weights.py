"""First weights of an encoder: of a published network, or of a run of ours."""

from pathlib import Path
from typing import Any

from tinyclap.checkpoints.state import load_student, read_state_dict, strict_load
from tinyclap.errors import CheckpointError, ConfigError
from tinyclap.published.table import PUBLISHED


class EncoderWeights:
    """First weights of an encoder, for a YAML's ``load_weights``: loaded before a checkpoint is resumed from.

    Arguments
    ---------
    encoder : torch.nn.Module. An encoder of ours.
    weights : str or os.PathLike, optional
        A run's or saved model's folder whose encoder is of the same kind and size, or a published file:
        EfficientAT's "mn" for a MobileNet, EfficientLatent for an EfficientNet-B2, CED for a Ced, WavCaps' HTSAT-BART
        for an Htsat.
    """

    def __init__(self, encoder: Any, weights: str | Path | None = None) -> None:
        self.encoder, self.weights = encoder, weights

    def load(self) -> None:
        """Load every tensor of the encoder, or nothing."""
        if self.weights is None:
            return
        if Path(self.weights).is_dir():
            student, _ = load_student(self.weights)
            encoder = getattr(getattr(student, "audio", student), "encoder", None)
            if encoder is None:
                raise CheckpointError(f"{self.weights}: a {type(student).__name__} has no encoder to begin with")
            state_dict, rename, unused = encoder.state_dict(), None, (r"^(classifier|fc_audioset|outputlayer)\.",)
        else:
            kind = type(self.encoder).__name__
            published = next((one for one in PUBLISHED.values() if one.encoder == kind), None)
            if published is None:
                raise ConfigError(f"no published file is known for a {kind}; give the folder of a run of ours")
            network = published.network_class()
            state_dict = read_state_dict(published.at(self.weights))
            if hasattr(network, "renamed"):
                state_dict = network.renamed(state_dict)
            rename, unused = network.encoder_name, network.not_encoder
        strict_load(self.encoder, state_dict, rename, unused, str(self.weights))


class EfficientLatent:
    """The names of HEAR2021's EfficientLatent, an EfficientNet-B2 with a front end and a classifier of its own."""

    not_encoder = (r"^front_end\.", r"^_fc\.", r"^classifier\.")

    @staticmethod
    def encoder_name(name: str) -> str:
        """The published name of a tensor of our EfficientNet-B2."""
        return name.removeprefix("backbone.eff_net.").removeprefix("eff_net.")

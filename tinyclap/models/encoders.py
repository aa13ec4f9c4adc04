"""The audio encoders by their names in tables; ``front_end`` of each is the preset of its published weights."""

from tinyclap.models.ced import Ced
from tinyclap.models.cnn14 import Cnn14
from tinyclap.models.efficientnet import EfficientNetB2
from tinyclap.models.htsat import Htsat
from tinyclap.models.mobilenet import MobileNet
from tinyclap.models.phinet import PhiNet

ENCODERS = {"effb2": EfficientNetB2, "phinet": PhiNet, "mn": MobileNet, "cnn14": Cnn14, "htsat": Htsat, "ced": Ced}

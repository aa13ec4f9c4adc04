"""Log-mel front ends, resampling and windows on torch tensors."""

from tinyclap.features.front_ends import LogMel as LogMel
from tinyclap.features.front_ends import log_mel as log_mel

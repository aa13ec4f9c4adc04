"""Log-mel front ends, resampling and windows on torch tensors."""

from tinyclap.features.log_mel import LogMel as LogMel
from tinyclap.features.log_mel import log_mel as log_mel

"""Saved models: strict loading of weights, and folders that rebuild their own model."""

from typing import TYPE_CHECKING

from tinyclap.config.renamed import lazy_names
from tinyclap.files import sha256_of as sha256_of

if TYPE_CHECKING:
    from tinyclap.checkpoints.state import load_folder as load_folder
    from tinyclap.checkpoints.state import load_student as load_student
    from tinyclap.checkpoints.state import read_state_dict as read_state_dict
    from tinyclap.checkpoints.state import save_folder as save_folder
    from tinyclap.checkpoints.state import strict_load as strict_load
else:
    _STATE = ("load_folder", "load_student", "read_state_dict", "save_folder", "strict_load")
    __getattr__, __dir__ = lazy_names(__name__, **dict.fromkeys(_STATE, "state"))

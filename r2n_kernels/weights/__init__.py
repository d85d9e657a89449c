"""Weights from anywhere, as one validated state dict under timm's names.

    source (Hub, folder, file, module, mapping) -> unwrap -> canonical names -> adapt -> validate

Nothing here is half-loaded: either every tensor of the network is there, of the right shape and
finite, or one WeightsError names all that is wrong.
"""

from .configs import config_from_timm
from .infer import config_from_state
from .module import DECISIVE, config_from_module, join_faults, replaced_methods, unwrap_module
from .read import read_config
from .record import Weights
from .shapes import expected_shapes
from .source import load_weights
from .trunk import HEAD, faults_of_trunk, trunk_names

__all__ = [
    "DECISIVE",
    "HEAD",
    "Weights",
    "config_from_module",
    "config_from_state",
    "config_from_timm",
    "expected_shapes",
    "faults_of_trunk",
    "join_faults",
    "load_weights",
    "read_config",
    "replaced_methods",
    "trunk_names",
    "unwrap_module",
]

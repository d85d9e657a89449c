"""Weights from anywhere become one validated state dict under timm's names.

    source (Hub, folder, file, module, mapping) -> unwrap -> canonical names -> adapt -> validate

Nothing here is half-loaded: either every tensor of the network is there, of the right shape and
finite, or one WeightsError names all that is wrong.
"""

from .config_json import config_from_timm
from .folder import check_new, write_folder
from .load import load_weights
from .module import (
    DECISIVE,
    HEAD,
    config_from_module,
    faults_of_trunk,
    replaced_methods,
    trunk_names,
    unwrap_module,
)
from .shapes import expected_shapes, join_faults
from .sources import read_config

__all__ = [
    "DECISIVE",
    "HEAD",
    "check_new",
    "config_from_module",
    "config_from_timm",
    "expected_shapes",
    "faults_of_trunk",
    "join_faults",
    "load_weights",
    "read_config",
    "replaced_methods",
    "trunk_names",
    "unwrap_module",
    "write_folder",
]

"""This room makes int8 of a model by NNCF: it calibrates, keeps the accuracy, and measures both."""

from .activations import activation_scales
from .agreement import agreement
from .calibration import Calibration, read_calibration
from .run import on_openvino, packages, quantize

__all__ = [
    "Calibration",
    "activation_scales",
    "agreement",
    "on_openvino",
    "packages",
    "quantize",
    "read_calibration",
]

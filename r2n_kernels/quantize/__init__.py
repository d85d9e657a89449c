"""This room makes int8 of a model by NNCF: it calibrates, keeps the accuracy, and measures both."""

from .agreement import agreement
from .calibration import Calibration
from .run import packages, quantize

__all__ = ["Calibration", "agreement", "packages", "quantize"]

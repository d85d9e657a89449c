"""The model that users hold: modules under timm's names, and what is packed from them."""

from .folded import CANONICAL
from .packed import Packed
from .res2net import Res2NetModel

__all__ = ["CANONICAL", "Packed", "Res2NetModel"]

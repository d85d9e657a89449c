"""Users hold a model: modules under timm's names, and what is packed from them."""

from .folded import CANONICAL
from .res2net import Res2NetModel

__all__ = ["CANONICAL", "Res2NetModel"]

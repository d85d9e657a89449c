"""The plain PyTorch Res2Net is the oracle of every test, and the model to train."""

if __name__ == "reference":
    raise ImportError("import r2n_kernels.reference: a second copy would load under a bare name")

from .model import Bottle2neck, Res2Net
from .pool import GlobalPool
from .randomize import randomize

__all__ = ["Bottle2neck", "GlobalPool", "Res2Net", "randomize"]

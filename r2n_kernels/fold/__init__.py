"""Canonical weights -> folded convolutions. Only this package knows how weights are laid out."""

from .batchnorm import BN_EPS, FoldedBlock, FoldedConv, FoldedNet, fold

__all__ = ["BN_EPS", "FoldedBlock", "FoldedConv", "FoldedNet", "fold"]

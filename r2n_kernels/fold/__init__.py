"""Canonical weights become folded convolutions. Only this package knows the weights' layout."""

from .batchnorm import BN_EPS, FoldedBlock, FoldedConv, FoldedNet, fold

__all__ = ["BN_EPS", "FoldedBlock", "FoldedConv", "FoldedNet", "fold"]

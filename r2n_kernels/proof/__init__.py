"""Proofs say whether results are right on this machine.

`tolerance` has the one rule. `steps` holds a kernel to its twin by it, `parity` a network to eager
PyTorch; `selftest` runs the `checks` on its `networks`; `tune` searches for faster tiles.
"""

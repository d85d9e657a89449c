"""Kernels that a GPU must choose between: compiled here, timed there, whatever Triton it has.

`make` compiles them to a folder; `measure` checks and times them on a GPU, or in the emulator.
All are of one block of the headline model at 14 px: 104 channels a split, 3 splits.
"""

"""Candidate kernels are compiled here, and timed on a machine with a GPU, whatever its Triton.

`make` compiles them to a folder; `measure` checks and times them on a GPU, or in the emulator.
All are of one block of the headline model at 14 px: 104 channels per split, 3 splits.
"""

"""Kernels are compiled for a GPU on a machine without one: inspected, and run in the emulator.

This is what `r2n inspect` and `r2n gate` show, what `r2n warm` keeps, and the backend "ptx:<arch>".
"""

"""Compiled instances run in the emulator: each against its PyTorch twin, with exact counters.

What `r2n inspect --run` shows, and what the engine's backend "ptx:<arch>" launches with.
"""

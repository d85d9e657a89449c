"""Kernels written for the emulator's table: well-known kinds, and constructs of Triton."""

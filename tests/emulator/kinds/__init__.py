"""Kernels written for the emulator's table: 40 well-known kinds and 60 constructs."""

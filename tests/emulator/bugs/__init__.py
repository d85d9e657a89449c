"""Kernels with deliberate bugs, each of which the emulator must find, and without them."""

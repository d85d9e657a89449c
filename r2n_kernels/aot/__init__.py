"""Kernels compiled ahead of time, without a GPU: what `r2n inspect` shows."""

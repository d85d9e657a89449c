"""Clocks, and what a figure was measured on: the machine and the code."""

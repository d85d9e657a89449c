"""Clocks, and what a figure was measured on."""

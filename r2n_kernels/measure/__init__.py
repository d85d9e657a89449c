"""This package has clocks, and says what a figure was measured on: the machine and the code."""

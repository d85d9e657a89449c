"""This is the package's version; setup.py reads it here, without importing the package."""

__version__ = "0.1.0"

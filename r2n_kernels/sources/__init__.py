"""This room says what is read: samples of files, lists, tars, tables and URLs, in input order."""

from .inputs import Inputs, find_inputs, shard_of
from .paths import find_images, passed_over_text
from .sample import Broken, Remote, Sample

__all__ = [
    "Broken",
    "Inputs",
    "Remote",
    "Sample",
    "find_images",
    "find_inputs",
    "passed_over_text",
    "shard_of",
]

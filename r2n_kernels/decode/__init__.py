"""This room turns a file into the pixels that a model sees: uint8, on Pillow alone.

Nothing here imports torch or numpy, so that a worker process starts quickly and stays small.
`IsolatedDecoder`, which runs such processes, is in `decode.isolated`.
"""

from .decoder import DECODES, Decoder
from .geometry import CROP_MODES, INTERPOLATIONS, Geometry
from .limits import Limits
from .reading import FORMATS, read_image

__all__ = [
    "CROP_MODES",
    "DECODES",
    "FORMATS",
    "INTERPOLATIONS",
    "Decoder",
    "Geometry",
    "Limits",
    "read_image",
]

"""Write results: predictions to JSON lines or CSV, embeddings to npz or safetensors, feature maps.

A file appears under its final name only when it is complete, and replaces an earlier one at that
moment. If the run ends early, its rows are kept beside it, in `<name>.partial`
(`.partial2` if that is an earlier run's).
"""

from .embeddings import EmbeddingWriter
from .maps import MapWriter
from .rows import RowWriter

__all__ = ["EmbeddingWriter", "MapWriter", "RowWriter"]

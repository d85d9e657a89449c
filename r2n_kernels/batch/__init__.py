"""This room runs a model over batches of images: in one process, or as functions for a fleet."""

from .callables import BatchFunction, Classifier, Embedder
from .columns import Columns
from .feed import Clock, forward_batches
from .identity import identity
from .models import device_of, labels_of
from .parts import batches_of, device_batch, parts, usual_batch
from .ray import BATCHES, ray_rows
from .run import Feeding, Run, embeddings, probabilities
from .top import Top, best

__all__ = [
    "BATCHES",
    "BatchFunction",
    "Classifier",
    "Clock",
    "Columns",
    "Embedder",
    "Feeding",
    "Run",
    "Top",
    "batches_of",
    "best",
    "device_batch",
    "device_of",
    "embeddings",
    "forward_batches",
    "identity",
    "labels_of",
    "parts",
    "probabilities",
    "ray_rows",
    "usual_batch",
]

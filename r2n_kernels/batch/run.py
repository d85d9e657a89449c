"""A run takes images through a model in input order, whoever asks: the CLI, or one of a fleet."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..data import Batch, ImageBatches, create_transform, resolve_model_data_config
from ..decode import Limits
from .feed import Apply, Clock, forward_batches
from .parts import batches_of, device_batch, usual_batch

if TYPE_CHECKING:
    from ..model.bundled import Model


@dataclass(frozen=True)
class Feeding:
    """Feeding says how images are read, as `ImageBatches` describes it."""

    workers: int | None = None
    decode: str = "exact"
    isolate: bool = False
    limits: Limits = field(default_factory=Limits)


class Run:
    """A Run knows how a model's images are prepared, and how many of them it takes at once.

    On a GPU images go as bytes, and every batch is filled up to one size: a row then has the same
    bits whatever became of its neighbours, and nothing is compiled for an odd batch.
    """

    def __init__(
        self, model: Model, apply: Apply, batch_size: int | None = None,
        preprocessing: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        """`apply` maps a batch of images to rows [N, ...]; batch_size None: what is usual.

        preprocessing: entries that win over the model's, as `resolve_model_data_config` takes
        them; the model's own mean and std become those. Raises ConfigError, and BundleError where
        a bundle has no code for the images' size.
        """
        self.model, self.apply, self.clock = model, apply, Clock()
        told = {"in_chans": model.in_chans, **(preprocessing or {})}
        self.config = config = resolve_model_data_config(model, told)
        self.transform = create_transform(**config)
        if preprocessing:  # bytes are normalised with what the model states
            model.pretrained_cfg.update(mean=config["mean"], std=config["std"])
        height, width = self.transform.input_size[1:]
        usual = device_batch(model, height, width) if batch_size is None else batch_size
        self.cuts = batches_of(model, usual, height, width)
        self.batch_size = batch_size or usual_batch(self.cuts, usual)
        self.takes_bytes = model.device.type == "cuda"
        if self.takes_bytes and not self.cuts:
            self.cuts = (self.batch_size,)

    def batches(
        self, sources: Iterable[Any], feeding: Feeding | None = None
    ) -> Generator[tuple[Batch, Tensor | None], None, None]:
        """Yield batches of what `ImageBatches` reads, each with its rows (float32, on the CPU).

        Images are decoded ahead, in threads or processes; close it when leaving early, which ends
        them.
        """
        how = feeding or Feeding()
        images = ImageBatches(
            sources, self.transform, self.batch_size, how.workers, decode=how.decode,
            limits=how.limits, isolate=how.isolate, pixels=self.takes_bytes,
            pin_memory=self.takes_bytes,
        )  # fmt: skip
        self.clock.workers, self.clock.decoded = images.workers, images.spent
        with (
            images as batches,
            contextlib.closing(
                forward_batches(self.model, batches, self.apply, self.cuts, self.clock)
            ) as found,
        ):
            yield from found


def probabilities(model: Model) -> Apply:
    """Return what classifies a batch: softmax of the logits, in float32."""
    return lambda x: model(x).float().softmax(dim=1)


def embeddings(model: Model) -> Apply:
    """Return what embeds a batch: the pooled last feature map."""
    return lambda x: model.outputs(x, (), ("embedding",))[0]

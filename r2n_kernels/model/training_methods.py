"""timm's methods for training or cutting a network answer where that says something true."""

from __future__ import annotations

from typing import Any

from ..errors import InferenceOnlyError
from ..inference_only import ADVICE


class TrainingMethods:
    """TrainingMethods have methods of a network that runs inference only."""

    drop_rate = 0.0
    grad_checkpointing = False

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Return patterns that group parameters by name: stem and blocks, or layers if coarse."""
        blocks = r"^layer(\d+)" if coarse else r"^layer(\d+)\.(\d+)"
        return {"stem": r"^conv1|bn1|maxpool", "blocks": blocks}

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        if enable:
            raise InferenceOnlyError(
                f"set_grad_checkpointing() saves memory of gradients. {ADVICE}"
            )

    def init_weights(self, zero_init_last: bool = True) -> None:
        raise InferenceOnlyError(f"init_weights() was called. {ADVICE}")

    def prune_intermediate_layers(self, *args: Any, **kwargs: Any) -> None:
        raise InferenceOnlyError(
            "prune_intermediate_layers() was called, and nothing needs to be cut off: "
            "forward_intermediates(..., intermediates_only=True), or a model made with "
            "features_only=True and out_indices, computes nothing behind the last map"
        )

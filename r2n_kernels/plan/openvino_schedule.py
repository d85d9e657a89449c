"""The OpenVINO backend runs the steps of the torch backend; other copies surround the splits."""

from __future__ import annotations

from .torch_schedule import TorchSchedule


class OpenVinoSchedule(TorchSchedule):
    """Launches are the nodes that OpenVINO's CPU plug-in runs: ReLU and residual sums are fused."""

    backend = "openvino"

    def chain(self, count: int, e: int) -> list[tuple[str, int, int]]:
        """List one cut into splits of e elements, convolutions with sums between, and one join."""
        whole = (count + 1) * e
        launches = [("split", whole, whole)]
        for i in range(count):
            launches += [("add", 2 * e, e)] if i else []
            launches += [("conv", e, e)]
        return [*launches, ("cat", whole, whole)]

    def independent(self, count: int, e: int, eo: int) -> list[tuple[str, int, int]]:
        """List one cut into splits of e elements, what makes eo of each, and one join."""
        whole, joined = (count + 1) * e, (count + 1) * eo
        convs = [("conv", e, eo)] * count
        return [("split", whole, whole), *convs, ("pool", e, eo), ("cat", joined, joined)]

"""The classifier of a model whose parameters are float32, whatever it computes in."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class Classifier(nn.Linear):
    """A linear layer in the dtype of its input: [N, C] -> [N, num_classes]."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.to(x.dtype), self.bias.to(x.dtype))

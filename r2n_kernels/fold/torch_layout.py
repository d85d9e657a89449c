"""The torch backend runs folded convolutions as oneDNN's, or as plain ones.

Both callables take and give channels_last tensors and are alike:

    conv(x, relu)            -> conv(x) + bias, then ReLU if asked
    conv.add_relu_(x, acc)   -> acc = relu(acc + conv(x) + bias), in place
    conv.packed_for(...)     -> the same, with the weight packed for inputs of a shape
    conv.unpacked()          -> the same, with a weight that any shape can take
    conv.unfused()           -> the same, with a ReLU that passes NaN on
    conv.plain()             -> the same as a PlainConv
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from .batchnorm import FoldedConv

CHANNELS_LAST = torch.channels_last
NEEDED_OPS = (
    "_reorder_convolution_weight", "_convolution_pointwise", "_convolution_pointwise_",
    "_get_mkldnn_serialized_md",
)  # fmt: skip
# In oneDNN's description, 32-bit words that only align what follows, and hold anything. Were they
# others, weights would be held once more, or be reordered in each call, but never misread.
GAPS = (1, 27, 79)
Layout = tuple[int, ...]  # that description, as words; () of a plain weight
Layouts = dict[tuple[object, ...], Layout]  # by geometry


class PlainConv:
    """`torch.conv2d` runs it on any device: cuDNN on CUDA, whatever ATen picks elsewhere."""

    def __init__(self, weight: Tensor, bias: Tensor, stride: int, groups: int) -> None:
        self.weight, self.bias, self.stride, self.groups = weight, bias, stride, groups
        self.padding = weight.shape[-1] // 2

    @classmethod
    def from_folded(cls, conv: FoldedConv, device: torch.device) -> PlainConv:
        weight = conv.weight.to(device).contiguous(memory_format=CHANNELS_LAST)
        return cls(weight, conv.bias.to(device), conv.stride, conv.groups)

    def packed_for(
        self, shape: Sequence[int], twins: Sequence[PlainConv], known: Layouts
    ) -> PlainConv:
        return self

    def unpacked(self) -> PlainConv:
        return self

    def unfused(self) -> PlainConv:
        return self

    def plain(self) -> PlainConv:
        return self

    def __call__(self, x: Tensor, relu: bool) -> Tensor:
        y = F.conv2d(x, self.weight, self.bias, self.stride, self.padding, groups=self.groups)
        return y.relu_() if relu else y

    def add_relu_(self, x: Tensor, acc: Tensor) -> Tensor:
        return acc.add_(self(x, relu=False)).relu_()


class OneDnnConv:
    """oneDNN runs it as Inductor calls it: fused ReLU and residual add, packed weight.

    oneDNN picks a weight layout for each input shape. A plain weight is reordered in every call,
    which costs about a fifth of a batch of one; a packed weight costs nothing on the shapes whose
    layout it has, but up to 50 times the convolution on another. Packing loses nothing, so a weight
    is packed from any other of its layouts.

    The fused ReLU turns NaN into 0, where PyTorch's passes it on; `unfused()` equals it bit for
    bit where nothing is NaN.
    """

    def __init__(self, conv: FoldedConv) -> None:
        r = conv.weight.shape[-1] // 2
        # padding, stride, dilation, groups
        self.geometry = ([r, r], [conv.stride] * 2, [1, 1], conv.groups)
        self.weight = conv.weight.contiguous(memory_format=CHANNELS_LAST)
        self.layout: Layout = ()
        self.bias = conv.bias
        self.fused = True

    def packed_for(
        self, shape: Sequence[int], twins: Sequence[OneDnnConv], known: Layouts
    ) -> OneDnnConv:
        """Return a twin packed for inputs of [N, Ci, H, W]: one of `twins` whose layout it is.

        known: layouts for this shape of input, of convolutions like this one too. oneDNN says what
        it wants only by packing, so the first of them is packed to learn it.
        """
        like = (*shape, *self.weight.shape, *self.geometry[1], self.geometry[3])
        for twin in twins:
            if twin.layout and twin.layout == known.get(like):
                return twin
        made = copy.copy(self)
        pack = torch.ops.mkldnn._reorder_convolution_weight
        made.weight = pack(self._dense(), *self.geometry, list(shape))
        made.layout = known[like] = _layout(made.weight)
        return next((twin for twin in twins if twin.layout == made.layout), made)

    def unpacked(self) -> OneDnnConv:
        twin = copy.copy(self)
        twin.weight, twin.layout = self._dense().contiguous(memory_format=CHANNELS_LAST), ()
        return twin

    def _dense(self) -> Tensor:
        return self.weight.to_dense() if self.weight.is_mkldnn else self.weight

    def unfused(self) -> OneDnnConv:
        twin = copy.copy(self)
        twin.fused = False
        return twin

    def plain(self) -> PlainConv:
        """Return the PlainConv: on the same weight, or a copy of a packed one."""
        _, (stride, _), _, groups = self.geometry
        return PlainConv(self.unpacked().weight, self.bias, stride, groups)

    def __call__(self, x: Tensor, relu: bool) -> Tensor:
        post_op = "relu" if relu and self.fused else "none"
        y = torch.ops.mkldnn._convolution_pointwise(
            x, self.weight, self.bias, *self.geometry, post_op, [], ""
        )
        return y.relu_() if relu and not self.fused else y

    def add_relu_(self, x: Tensor, acc: Tensor) -> Tensor:
        post_op = "relu" if self.fused else None
        acc = torch.ops.mkldnn._convolution_pointwise_.binary(
            acc, x, self.weight, self.bias, *self.geometry, "add", 1.0, post_op, [], None
        )
        return acc if self.fused else acc.relu_()


def _layout(packed: Tensor) -> Layout:
    words = torch.ops.mkldnn._get_mkldnn_serialized_md(packed).view(torch.int32).tolist()
    return tuple(word for i, word in enumerate(words) if i not in GAPS)


def onednn_has(dtype: torch.dtype) -> bool:
    """Return whether this build of torch and this CPU can run `OneDnnConv` in the dtype."""
    ops = torch.ops.mkldnn
    flags = torch.backends.mkldnn
    if not (flags.is_available() and flags.enabled and all(hasattr(ops, n) for n in NEEDED_OPS)):
        return False
    return dtype == torch.float32 or (dtype == torch.bfloat16 and ops._is_mkldnn_bf16_supported())

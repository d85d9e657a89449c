"""This file compiles Triton kernels ahead of time; beside it only `host` ever needs Triton."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .kernel import Kernel


def compile_kernel(
    function: Any, signature: Mapping[str, str], constants: Mapping[str, Any], *, arch: int,
    num_warps: int = 4, attrs: Mapping[tuple[int, ...], Any] | None = None, **options: Any,
) -> Kernel:  # fmt: skip
    """Compile a @triton.jit function for sm_<arch>, without a GPU, and translate its PTX.

    signature: types by parameter, as in {"x_ptr": "*fp16", "n": "i32", "BLOCK": "constexpr"}.
    attrs: by the parameter's place; by default every pointer is divisible by 16. options: Triton's.
    Arguments of the kernel's `run` are those that are no constexpr, in order.
    """
    import triton
    from triton import JITFunction
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    if not isinstance(function, JITFunction):
        raise TypeError(f"{function} is no kernel to compile; was TRITON_INTERPRET=1 set?")
    if attrs is None:
        pointers = (i for i, t in enumerate(signature.values()) if t.startswith("*"))
        attrs = {(i,): [["tt.divisibility", 16]] for i in pointers}
    source = ASTSource(function, dict(signature), dict(constants), dict(attrs))
    made = triton.compile(
        source, target=GPUTarget("cuda", arch, 32), options={"num_warps": num_warps, **options}
    )
    meta = made.metadata
    types = {name: t for name, t in signature.items() if t != "constexpr"}
    if any(t.startswith("tensordesc") for t in types.values()):
        types = {}  # each is several parameters
    return Kernel(
        made.asm["ptx"], meta.shared, meta.num_warps, tuple(types),
        scratch_bytes=meta.global_scratch_size, types=tuple(types.values()),
    )  # fmt: skip

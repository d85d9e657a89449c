"""Launches as data, and calls made of them again: of every op, on tensors that may be anywhere."""

from __future__ import annotations

import ctypes
import json

import pytest
import torch

from r2n_kernels.bundle import ops
from r2n_kernels.bundle.manifest import Code
from r2n_kernels.bundle.ops import FORMS, Kernel, OpFacts, StoredLaunch, fitted, form_of, placed
from r2n_kernels.compiled.instances import Request, bound_steps, plan_of
from r2n_kernels.config import VARIANTS
from r2n_kernels.errors import BundleError
from r2n_kernels.kernels.op import all_ops

HALF = torch.float16


def requests():
    """Passes that have every op: of a plain variant and a `d` one, under both schedules."""
    for name in ("res2net50_26w_4s", "res2net50d"):
        for schedule in ("throughput", "latency"):
            yield Request(VARIANTS[name], 2, 62, 121, HALF, "sm_90", schedule, forms=FORMS)


@pytest.fixture(scope="module")
def launches():
    """A call of each op's launcher, what was launched on, and the form of the input."""
    found = {}
    for request in requests():
        for form, bound in bound_steps(request, plan_of(request)):
            for call in bound.calls():
                found.setdefault((bound.step.op, form, len(bound.calls())), (call, bound))
    return found


def real(tensors):
    """The same tensors, with memory: in one where they were one."""
    found, whole = {}, {}
    for name, t in tensors.items():
        if t is not None:
            storage = t.untyped_storage()
            count = storage.nbytes() // t.element_size()
            flat = whole.setdefault(storage._cdata, torch.empty(count, dtype=t.dtype))
            t = flat.as_strided(t.shape, t.stride())
        found[name] = t
    return found


def code_for(call):
    kinds = {name: "u64" if isinstance(v, torch.Tensor) else "u32" for name, v in call.args.items()}
    return Code("k", call.name, "sm_90", call.warps, 0, 32, (*kinds.items(), ("", "u64")))


def test_every_op_comes_back(launches):
    """On tensors elsewhere the call has the addresses that the launcher would give."""
    assert {op for op, _, _ in launches} == all_ops().keys()
    for call, bound in launches.values():
        code = code_for(call)
        stored = StoredLaunch(code, call.grid, placed(call, list(call.args), bound.tensors))
        again = StoredLaunch.decode(json.loads(json.dumps(stored.encode())), {"k": code})
        assert again == stored
        tensors = real(bound.tensors)
        made = again.call(Kernel(code), tensors)
        alike = next(
            c for c in bound.op.launcher(**tensors, **bound.step.options)
            if [v for v in c.args.values() if isinstance(v, int)]
            == [v for v in call.args.values() if isinstance(v, int)]
        )  # fmt: skip
        assert (made.name, made.grid, made.warps) == (call.name, call.grid, call.warps)
        assert made.args.keys() == call.args.keys()
        for name, value in alike.args.items():
            if isinstance(value, torch.Tensor):
                assert made.args[name].data_ptr() == value.data_ptr(), (call.name, name)
            else:
                assert made.args[name] == value


def test_facts_are_those_of_the_op():
    op = all_ops()["conv3_project"]
    facts = OpFacts.of(op).op({"": []}, Kernel)
    assert facts.tensors == op.tensors
    assert facts.kernel_options == op.kernel_options
    assert list(facts.contract()) == []


def test_a_tensor_that_was_not_given(launches):
    call, bound = launches["maxpool", "", 1]
    with pytest.raises(ValueError, match="a tensor that its launcher was not given"):
        placed(call, list(call.args), {**bound.tensors, "x": torch.empty(3)})


CODE = Code("k", "a_kernel", "sm_90", 4, 0, 32,
            (("x_ptr", "u64"), ("n", "u32"), ("plane", "u64"), ("", "u64")))  # fmt: skip
ARGS = {"x_ptr": ("x", 1, 3), "n": 5, "plane": 2**40}


def test_parameters_are_in_the_codes_order():
    x = torch.zeros(4, dtype=HALF)
    call = StoredLaunch(CODE, 7, dict(reversed(ARGS.items()))).call(Kernel(CODE), {"x": x})
    assert call.arguments[1:] == [5, 2**40]
    values = ctypes.cast(call.packed.address, ctypes.POINTER(ctypes.c_void_p))
    read = [ctypes.c_uint64.from_address(values[i]).value for i in range(4)]
    assert read == [x.data_ptr() + 2, 5, 2**40, 0]


def test_negative_numbers_are_in_twos_complement():
    call = StoredLaunch(CODE, 7, {**ARGS, "n": -1, "plane": -2}).call(
        Kernel(CODE), {"x": torch.zeros(4)}
    )
    values = ctypes.cast(call.packed.address, ctypes.POINTER(ctypes.c_void_p))
    assert ctypes.c_int32.from_address(values[1]).value == -1
    assert ctypes.c_int64.from_address(values[2]).value == -2


@pytest.mark.parametrize(
    ("grid", "changes", "match"),
    [
        (0, {}, "a grid of 0 CTAs"),
        (-1, {}, "a grid of -1 CTAs"),
        (2**31, {}, "a grid of 2147483648 CTAs, 1 to 2,147,483,647 are possible"),
        (True, {}, "a grid of True CTAs"),
        (7, {"more": 1}, r"arguments .*'more'.* of a_kernel"),
        (7, {"n": ("x", 0, 1)}, "a tensor for the number 'n'"),
        (7, {"n": 2**31}, "argument 'n': 2147483648"),
        (7, {"n": 1.5}, r"argument 'n': 1\.5"),
        (7, {"plane": 2**63}, "argument 'plane'"),
        (7, {"x_ptr": ("x", 0, "1")}, "argument 'x_ptr': '1'"),
    ],
)
def test_absurd_launches(grid, changes, match):
    with pytest.raises(ValueError, match=match):
        StoredLaunch(CODE, grid, {**ARGS, **changes})


def test_a_missing_argument():
    with pytest.raises(ValueError, match=r"arguments .* of a_kernel"):
        StoredLaunch(CODE, 7, {"n": 1})


def test_foreign_code():
    with pytest.raises(KeyError, match="other"):
        StoredLaunch.decode({"code": "other", "grid": 1, "args": {}}, {"k": CODE})


@pytest.mark.parametrize("place", [("x", 0, 5), ("x", 4, 1), ("x", -1, 1), ("x", 0, -1),
                                   ("y", 0, 1), ("none", 0, 0)])  # fmt: skip
def test_a_launch_that_leaves_its_tensor(place):
    launch = StoredLaunch(CODE, 7, {**ARGS, "x_ptr": place})
    with pytest.raises(BundleError, match=f"a_kernel leaves its tensor '{place[0]}'"):
        launch.call(Kernel(CODE), {"x": torch.zeros(4), "none": None})


# forms of an input

N, C, H, W = 2, 3, 5, 7
EVEN = torch.zeros(4096, dtype=HALF)


def shaped(n=N, c=C, h=H, w=W, dtype=HALF):
    return torch.arange(n * c * h * w).reshape(n, c, h, w).to(dtype)


def channels_last(x):
    return x.contiguous(memory_format=torch.channels_last)


def misaligned(x):
    """The same numbers, one element behind an aligned address."""
    out = torch.zeros(x.numel() + 8, dtype=x.dtype)[1 : x.numel() + 1]
    return out.as_strided(x.shape, x.stride()).copy_(x)


def with_odd_stride(x):
    """An axis of one element may have any stride."""
    assert x.shape[0] == 1
    return x.as_strided(x.shape, (1_000_003, *x.stride()[1:]))


FLOATS = {
    "contiguous": (shaped(), "contiguous"),
    "channels_last": (channels_last(shaped()), "channels_last"),
    "one image": (shaped(n=1), "contiguous"),
    "one image, channels_last": (channels_last(shaped(n=1)), "channels_last"),
    "one image, odd stride": (with_odd_stride(shaped(n=1)), "contiguous"),
    "one channel": (shaped(c=1), "contiguous"),
    "one pixel": (shaped(h=1, w=1), "contiguous"),
    "misaligned": (misaligned(shaped()), None),
    "misaligned, channels_last": (misaligned(channels_last(shaped())), None),
    "a slice of the width": (shaped(w=W + 1)[..., 1:], None),
    "every second column": (shaped(w=2 * W)[..., ::2], None),
    "one image of several": (shaped(n=3, h=8, w=8)[1:2], "contiguous"),
    "later channels": (channels_last(shaped(c=5))[:, 2:], None),
    "transposed": (shaped(h=W, w=H).transpose(2, 3), None),
    "expanded": (shaped(n=1).expand(N, -1, -1, -1), None),
    "broadcast": (torch.zeros((), dtype=HALF).expand(N, C, H, W), None),
}


@pytest.mark.parametrize("name", FLOATS)
def test_forms_of_floats(name):
    x, form = FLOATS[name]
    assert form_of(x) == form
    fit = fitted(x)
    assert (fit is x) == (form is not None)
    assert form_of(fit) in FORMS[:2]
    assert torch.equal(fit, x)
    assert fit.data_ptr() % ops.ALIGNED == 0


BYTES = {
    "as images are decoded": (channels_last(shaped(dtype=torch.uint8)), True),
    "one channel": (shaped(c=1, dtype=torch.uint8), True),
    "planes": (shaped(dtype=torch.uint8), False),
    "misaligned": (misaligned(channels_last(shaped(dtype=torch.uint8))), False),
    "a slice of the width": (channels_last(shaped(w=W + 1, dtype=torch.uint8))[..., 1:], False),
    "colours of four": (channels_last(shaped(c=4, dtype=torch.uint8))[:, :3], False),
}


@pytest.mark.parametrize("name", BYTES)
def test_forms_of_bytes(name):
    x, fits = BYTES[name]
    assert form_of(x) == ("bytes" if fits else None)
    fit = fitted(x)
    assert (fit is x) == fits
    assert form_of(fit) == "bytes"
    assert torch.equal(fit, x)


def test_a_form_without_code():
    op = OpFacts(("x",), ("y",), (), ()).op({"contiguous": []}, Kernel)
    x = shaped()
    assert op.launcher(x=x, y=x) == ()
    with pytest.raises(BundleError, match="no code for an input in the form 'channels_last'"):
        op.launcher(x=channels_last(x), y=x)
    with pytest.raises(BundleError, match="no code for an input in the form 'None'"):
        op.launcher(x=x[..., 1:], y=x)

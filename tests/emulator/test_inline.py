"""Functions of the module run in place of their calls."""

from __future__ import annotations

import numpy as np
import pytest

from r2n_kernels.emulator import UnsupportedError
from r2n_kernels.emulator.inline import inline

from .conftest import hand_written

HEADER = """
.func  (.param .b32 func_retval0) twice (.param .b32 twice_param_0) ;
.extern .func (.param .b32 func_retval0) vprintf (.param .b64 vprintf_param_0);
.func  (.param .b32 func_retval0) twice(.param .b32 twice_param_0) // -- Begin function
{
    .reg .pred %p<2>; .reg .b32 %r<4>;
    ld.param.b32 %r1, [twice_param_0];
    setp.gt.u32 %p1, %r1, 100; @%p1 bra $L__BB0_1;
    add.s32 %r2, %r1, %r1; st.param.b32 [func_retval0], %r2; ret;
$L__BB0_1:
    st.param.b32 [func_retval0], 7; ret;
}
.func  (.param .b32 func_retval0) more(.param .b32 more_param_0, .param .b32 more_param_1) {
    .reg .b32 %r<4>;
    ld.param.b32 %r1, [more_param_0]; ld.param.b32 %r3, [more_param_1];
    { // callseq 2, 0
    .param .b32 param0; .param .b32 retval0; st.param.b32 [param0], %r1;
    .loc 1 2 3
    call.uni (retval0), twice, (param0); ld.param.b32 %r2, [retval0];
    } // callseq 2
    add.s32 %r2, %r2, %r3; st.param.b32 [func_retval0], %r2; ret;
}
"""
CALL = """{{ // callseq {0}, 0
    .param .b32 param0; .param .b32 param1; .param .b32 retval0;
    st.param.b32 [param1], {2}; st.param.b32 [param0], {1};
    call.uni (retval0), more, (param0, param1); ld.param.b32 {3}, [retval0];
    }} // callseq {0}
"""


def test_functions_that_call_functions():
    """more(x, y) is 2 x + y, or 7 + y for a large x; registers of one name stay apart."""
    kernel = hand_written(
        "ld.param.u64 %rd1, [p0]; mov.u32 %r1, 5; mov.u32 %r2, 1000; mov.u32 %r3, 1;"
        + CALL.format(0, "%r1", "%r3", "%r5") + CALL.format(1, "%r2", "%r5", "%r6")
        + "st.global.v4.b32 [%rd1], {%r1, %r2, %r5, %r6};",
        "u64", header=HEADER,
    )  # fmt: skip
    y = np.zeros(4, np.int32)
    kernel.run((1,), [y])
    assert y.tolist() == [5, 1000, 11, 18]


def test_what_is_not_defined_stays_a_call():
    call = "{ .param .b64 param0; st.param.b64 [param0], %rd1; call.uni vprintf, (param0); }"
    with pytest.raises(UnsupportedError, match=r"\.param|call|st\.param"):
        hand_written(call, header=HEADER)
    plain = ".entry f() { ret; }"
    assert inline(plain, plain.index("{") + 1) == plain


def test_a_function_that_calls_itself_is_refused():
    header = HEADER.replace(
        "call.uni (retval0), twice, (param0)", "call.uni (retval0), more, (param0, param0)"
    )
    with pytest.raises(UnsupportedError, match=r"\.param|call|st\.param"):
        hand_written(CALL.format(0, "%r1", "%r3", "%r5"), header=header)

from __future__ import annotations

import dataclasses

import torch

from r2n_kernels.kernels.call import Call, launch
from r2n_kernels.kernels.global_pool import global_pool


def test_options_name_a_register_limit_where_there_is_one():
    call = Call(None, 1, {}, {}, 8)
    assert call.options == {"num_warps": 8}
    assert dataclasses.replace(call, registers=128).options == {"num_warps": 8, "maxnreg": 128}


def test_launches_run_in_order_and_an_empty_grid_runs_nothing(buffers):
    x = buffers.guarded(torch.arange(12.0).view(6, 2))
    out = buffers.unwritten((3, 2), torch.float32)
    (call,) = global_pool(x, out)
    assert (call.name, call.grid) == ("global_pool_kernel", 3)
    launch([Call(call.kernel, 0, call.args, call.constants, call.warps)])
    assert out.isnan().all()
    launch([call])
    buffers.assert_guards()
    assert out.tolist() == [[1.0, 2.0], [5.0, 6.0], [9.0, 10.0]]

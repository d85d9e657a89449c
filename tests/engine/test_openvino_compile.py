"""Python's handlers of signals live on where OpenVINO's cores end in any order."""

from __future__ import annotations

import subprocess
import sys

import pytest

ENDS = """
import gc, signal
import openvino
import torch
from openvino import opset13 as ops
from r2n_kernels.engine.openvino_compile import compile_graph, own_signal_stack

def compiled():
    x = ops.parameter([1, 4])
    return compile_graph(openvino.Model([ops.relu(x)], [x]), torch.float32, 1, 1)

def others():  # as NNCF's and an engine's beside ours
    x = ops.parameter([1, 4])
    return openvino.compile_model(openvino.Model([ops.relu(x)], [x]), "CPU")

kept = [compiled(), compiled(), compiled()]
with own_signal_stack():
    kept += [others(), others()]
while kept:
    del kept[0]  # the oldest first
    gc.collect()
handled = []
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
    signal.signal(number, lambda number, frame: handled.append(number))
    signal.raise_signal(number)
print(len(handled))
"""


@pytest.mark.parametrize(
    "options",
    [("-X", "faulthandler"), pytest.param((), marks=pytest.mark.slow)], ids=["own stack", "none"],
)  # fmt: skip
def test_signals_are_handled_when_cores_have_ended_in_any_order(options):
    done = subprocess.run(
        [sys.executable, *options, "-c", ENDS],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "3\n"), done.stderr

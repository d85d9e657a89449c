"""`import r2n_kernels` is quick and leaves no trace: no network, device, file, thread or setting.

A fresh interpreter imports torch, numpy and Pillow, notes the state of the process, imports the
package, and reports what changed.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LIMIT_S = 0.3  # what `import r2n_kernels` may add to `import torch`
ROUNDS = 4  # of three imports each: the machine may be busy during some of them

TIMED = """
import time, torch
start = time.perf_counter()
import r2n_kernels
print(time.perf_counter() - start)
"""

PROBE = """
import json, logging, os, random, signal, sys, threading, warnings
import numpy, torch
import PIL.Image, PIL.ImageFile

WATCHED = ("socket.", "subprocess.", "os.", "shutil.", "ctypes.dlopen", "signal.", "urllib.")
HARMLESS = ("os.listdir", "os.scandir")
events = []

def watch(event, args):
    if event == "open":
        writes = args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC)
        if writes or str(args[0]).startswith("/dev/"):
            events.append(f"open {args[0]}")
    elif event.startswith(WATCHED) and event not in HARMLESS:
        events.append(f"{event} {args}")

def mapped():
    with open("/proc/self/maps") as lines:
        return {os.path.basename(line.split()[-1]) for line in lines if "/" in line}

def devices():
    links = (os.path.join("/proc/self/fd", fd) for fd in os.listdir("/proc/self/fd"))
    return {os.readlink(x) for x in links if os.path.lexists(x)}

def loggers():
    known = {"": logging.getLogger()} | {
        k: v for k, v in logging.root.manager.loggerDict.items() if isinstance(v, logging.Logger)
    }
    return {
        k: (v.level, [repr(h) for h in v.handlers], v.propagate, v.disabled)
        for k, v in known.items() if v.level or v.handlers or not v.propagate or v.disabled
    }

def state():
    b = torch.backends
    linux = os.path.isdir("/proc/self/task")
    return {
        "torch": {
            "threads": torch.get_num_threads(),
            "dtype": torch.get_default_dtype(),
            "device": torch.get_default_device(),
            "grad": torch.is_grad_enabled(),
            "inference": torch.is_inference_mode_enabled(),
            "matmul precision": torch.get_float32_matmul_precision(),
            "matmul tf32": b.cuda.matmul.allow_tf32,
            "cudnn": (b.cudnn.enabled, b.cudnn.benchmark, b.cudnn.deterministic),
            "cudnn tf32": b.cudnn.allow_tf32,
            "fp16 reduction": b.cuda.matmul.allow_fp16_reduced_precision_reduction,
            "bf16 reduction": b.cuda.matmul.allow_bf16_reduced_precision_reduction,
            "deterministic": torch.are_deterministic_algorithms_enabled(),
            "quantized": b.quantized.engine,
            "random": torch.get_rng_state().sum().item(),
            "cuda": torch.cuda.is_initialized(),
        },
        "python": {
            "threads": threading.active_count(),
            "random": hash(random.getstate()),
            "numpy random": hash(numpy.random.get_state()[1].tobytes()),
            "environment": {k: hash(v) for k, v in os.environ.items()},  # never shown: secrets
            "directory": os.getcwd(),
            "path": list(sys.path),
            "meta path": [repr(x) for x in sys.meta_path],
            "hooks": (repr(sys.excepthook), repr(sys.displayhook), repr(threading.excepthook)),
            "signals": {int(s): repr(signal.getsignal(s)) for s in signal.valid_signals()},
            "recursion": sys.getrecursionlimit(),
            "pillow": (PIL.Image.MAX_IMAGE_PIXELS, PIL.ImageFile.LOAD_TRUNCATED_IMAGES),
        },
        "warnings": [repr(f) for f in warnings.filters],
        "logging": loggers(),
        "native threads": len(os.listdir("/proc/self/task")) if linux else 0,
        "mapped": mapped() if linux else set(),
        "open": devices() if linux else set(),
    }

before, modules = state(), set(sys.modules)
sys.addaudithook(watch)
import r2n_kernels
found = list(events)
after = state()
changed = {
    f"{group} {key}": (repr(before[group].get(key)), repr(value))
    for group in ("torch", "python", "logging")
    for key, value in after[group].items() if before[group].get(key) != value
}
for name in ("warnings", "native threads"):
    if before[name] != after[name]:
        changed[name] = (repr(before[name]), repr(after[name]))
print(json.dumps({
    "modules": sorted(set(sys.modules) - modules),
    "events": found,
    "changed": changed,
    "mapped": sorted(after["mapped"] - before["mapped"]),
    "open": sorted(after["open"] - before["open"]),
    "files": os.listdir("."),
}))
"""


def python(*args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *args]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def probe(tmp_path_factory) -> dict:
    """What one import changed; without writing bytecode, which any import of Python's may do."""
    done = python("-B", "-c", PROBE, cwd=tmp_path_factory.mktemp("empty"))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


def test_import_is_quick(tmp_path):
    medians = []
    while len(medians) < ROUNDS:
        times = [float(python("-c", TIMED, cwd=tmp_path).stdout) for _ in range(3)]
        medians.append(statistics.median(times))
        if medians[-1] < LIMIT_S:
            return
    pytest.fail(f"import r2n_kernels takes {min(medians):.3f} s on top of torch; {LIMIT_S} allowed")


def test_import_does_nothing_outside_the_process(probe):
    assert probe["events"] == []
    assert probe["files"] == []


def test_import_loads_no_driver_and_opens_no_device(probe):
    # extension modules of safetensors, numpy and Pillow may come; nothing of a GPU's
    marks = ("cuda", "nvidia", "cudnn", "cublas", "nvrtc", "nccl", "hip", "rocm", "triton")
    assert [name for name in probe["mapped"] if any(mark in name.lower() for mark in marks)] == []
    assert probe["open"] == []


def test_import_changes_no_global_state(probe):
    assert probe["changed"] == {}


@pytest.mark.parametrize(
    "name",
    [
        "huggingface_hub",
        "requests",
        "httpx",
        "timm",
        "torchvision",
        "sklearn",
        "scipy",
        "triton",
        "torch._inductor",
        "torch._dynamo",
        "PIL.ImageCms",
        "PIL.ImageTk",
        "r2n_kernels.kernels",
        "r2n_kernels.benchmarks",
        "r2n_kernels.cli",
    ],
)
def test_import_does_not_load(name, probe):
    loaded = [m for m in probe["modules"] if m == name or m.startswith(f"{name}.")]
    assert loaded == []


@pytest.mark.parametrize("part", ["kernels", "reference", "benchmarks"])
def test_bare_name_is_refused(part):
    done = python("-B", "-c", f"import {part}", cwd=ROOT)
    assert done.returncode == 1
    assert f"ImportError: import r2n_kernels.{part}: a second copy would load" in done.stderr


def test_runs_without_asserts_and_docstrings(tmp_path):
    code = "import sys; from r2n_kernels.cli import main; sys.exit(main(['models', '--json']))"
    done = python("-OO", "-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)) == 9


def test_import_gives_no_warning(tmp_path):
    # torch is imported before warnings become errors: what it warns of on a new Python is its own
    code = "import torch, warnings; warnings.simplefilter('error'); import r2n_kernels.cli"
    done = python("-c", code, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")

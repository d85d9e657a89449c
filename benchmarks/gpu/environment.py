"""Record what this machine is: chip, driver, versions, tools, and which commit is run.

usage: environment.py OUT.json
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import torch

from ...measure.checkout import commit, kernels_hash
from ...measure.machine import machine_facts, version_of
from .facts import Facts

TOOLS = ("ncu", "compute-sanitizer", "ptxas", "gcc")
PACKAGES = ("timm", "numpy", "pytest", "pytest-xdist", "setuptools", "nvidia-cudnn-cu13")


def main(path: str) -> None:
    gpu = torch.cuda.is_available()
    facts = Facts(Path(path))
    for name, value in machine_facts(torch.device("cuda" if gpu else "cpu")).items():
        facts.keep(name, value)
    revision, dirty = commit()
    facts.keep("commit", revision)
    facts.keep("dirty", dirty)
    facts.keep("kernels", kernels_hash())
    facts.keep("python", sys.version.partition(" ")[0])
    facts.keep("packages", {name: version_of(name) for name in PACKAGES})
    facts.keep("tools", {name: shutil.which(name) for name in TOOLS})
    if gpu:
        chip = torch.cuda.get_device_properties(0)
        facts.keep("capability", f"{chip.major}.{chip.minor}")
        facts.keep("SMs", chip.multi_processor_count)
        facts.keep("L2 MiB", chip.L2_cache_size / 2**20)
        facts.keep("memory GiB", round(chip.total_memory / 2**30, 1))
        subprocess.run(["nvidia-smi"], check=False)  # clocks, power, who else is on it
    print(f"{facts.found['gpu'] or 'no GPU'}, torch {torch.__version__}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])

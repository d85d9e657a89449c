"""Packages `r2n_kernels`, of which `kernels/`, `reference/` and `benchmarks/` are parts.

They lie beside it, and links in `r2n_kernels/` say that they belong to it: as top-level packages
they would collide with others on the index (`kernels` is Hugging Face's). An sdist and a wheel hold
files in place of the links.
"""

import runpy
from pathlib import Path

from setuptools import find_packages, setup

PARTS = ("kernels", "reference", "benchmarks")


def packages() -> list[str]:
    for part in PARTS:
        if not Path("r2n_kernels", part).is_dir():
            raise SystemExit(
                f"r2n_kernels/{part} must be a link to ../{part}. Git writes a file in its place "
                "where it may make no links: `git config core.symlinks true`, check out anew."
            )
    return ["r2n_kernels", *(f"r2n_kernels.{name}" for name in find_packages("r2n_kernels"))]


OPENVINO = "openvino>=2025.0"
PEERS = ["onnx>=1.16", "onnxruntime>=1.18", "onnxscript>=0.3", OPENVINO]

RAY = ["ray[data]>=2.30"]
SERVE = ["litserve>=0.2.19", "prometheus_client>=0.20"]

QUANTIZE = ["nncf>=2.14", OPENVINO]

DOCS = ["mkdocs-material>=9.5"]

TEST = [
    *DOCS,
    *PEERS,
    *QUANTIZE,
    "build>=1.0",
    "fsspec>=2023.5",  # URLs; huggingface_hub brings it
    "hypothesis>=6.100",
    "jinja2>=3.1",
    *SERVE,
    "matplotlib>=3.8",
    "mypy>=1.15",
    "pyarrow>=16",
    "pytest>=8.0",
    "pytest-timeout>=2.3",
    "pytest-xdist>=3.6",
    *RAY,
    "ruff>=0.11",
    "scikit-learn>=1.4",
    "scipy>=1.11",
    "setuptools>=77",  # tests build the sdist and the wheel without a network
    "timm>=1.0.20",
    "torchvision>=0.21",
]

setup(
    name="r2n_kernels",
    version=runpy.run_path("r2n_kernels/version.py")["__version__"],
    description="Fast, trustworthy Res2Net inference: folded and fused, held to timm's outputs",
    author="The r2n_kernels developers",
    keywords=["Res2Net", "timm", "inference", "Triton", "GPU kernels", "PTX", "emulator"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in range(10, 14)),
        "Environment :: GPU :: NVIDIA CUDA",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Recognition",
        "Typing :: Typed",
    ],
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license_expression="Apache-2.0",
    license_files=["LICENSE", "NOTICE"],
    python_requires=">=3.10,<3.14",
    packages=packages(),
    package_data={
        "r2n_kernels": ["py.typed", "assets/*.txt", "assets/digits/*", "assets/digits/images/*"],
        "r2n_kernels.emulator": ["README.md"],
        "r2n_kernels.benchmarks.report": ["*.html", "*.css"],
    },
    install_requires=[
        "torch>=2.6",
        "numpy>=1.26",
        "pillow>=10.1",
        "safetensors>=0.4.3",
        "huggingface_hub>=0.30",
        "tqdm>=4.66",
    ],
    extras_require={
        "train": ["scikit-learn>=1.4"],  # reference/digits.py, which makes the bundled checkpoint
        "compare": ["scipy>=1.11"],  # `r2n compare`
        # `r2n report`: its charts, its page, and its history, which is compared
        "report": ["matplotlib>=3.8", "jinja2>=3.1", "scipy>=1.11"],
        "peers": [*PEERS, "timm>=1.0.20"],  # whom `r2n bench` can time beside this project
        "openvino": [OPENVINO],  # backend="openvino", which "auto" takes on a CPU
        "quantize": QUANTIZE,  # `r2n quantize`, which makes int8 of weights
        "parquet": ["pyarrow>=16"],  # .parquet in and out; folders of `datasets`
        "timm": ["timm>=1.0.20"],  # `r2n parity --against timm`, benchmarks against timm
        "ray": RAY,  # `--ray`, and `r2n_kernels.batch` on a cluster
        "serve": SERVE,  # `r2n serve`
        "docs": DOCS,  # `mkdocs serve`: the pages in docs/ as a site
        "test": TEST,
    },
    entry_points={
        "console_scripts": ["r2n=r2n_kernels.cli:main"],
        "pytest11": ["triton-emulate-option=r2n_kernels.pytest_emulate"],
    },
    zip_safe=False,
)

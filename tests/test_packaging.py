"""sdist, wheel and editable install: what they hold, and that they work far from the checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import r2n_kernels

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("kernels", "reference", "benchmarks")
SOURCES = ("r2n_kernels", *PARTS, "docs", "tests")
FILES = ("setup.py", "pyproject.toml", "MANIFEST.in", "LICENSE", "NOTICE", "README.md",
         "CONTRIBUTING.md", "CHANGELOG.md", "CITATION.cff", "SECURITY.md",
         "mkdocs.yml")  # fmt: skip
# of a checkout, not installed; MADE is not even in git
CHECKOUT = ("docs/", "benchmarks/gpu/run.sh", "benchmarks/results/", "benchmarks/baseline.json")
MADE = "benchmarks/gpu/candidates/out/"
INFO = f"r2n_kernels-{r2n_kernels.__version__}.dist-info"
# Imports every package named in argv; prints where each one lies.
IMPORT_ALL = """
import importlib, json, sys
print(json.dumps({name: importlib.import_module(name).__file__ for name in sys.argv[1:]}))
"""


def run(*command: str | Path, cwd: Path) -> str:
    """The command's stdout; on failure the test shows all that it printed."""
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def copy_sources(folder: Path) -> Path:
    """The sources alone: an old build/ or egg-info in the checkout would leak into what is built,
    and building must not write into the checkout."""
    for name in SOURCES:
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "out")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored, symlinks=True)
    for name in FILES:
        shutil.copy2(ROOT / name, folder / name)
    return folder


def build(kind: str, source: Path, target: Path) -> Path:
    """Build a "sdist" or "wheel" with this environment's setuptools; needs no network."""
    run(
        *(sys.executable, "-m", "build", "--no-isolation", f"--{kind}"),
        *("--outdir", target, source),
        cwd=source.parent,
    )
    (made,) = target.iterdir()
    return made


def fresh_environment(folder: Path, cwd: Path, *what: str | Path) -> Path:
    """A new virtual environment with `what` installed; the folder of its executables.

    It borrows torch and the other requirements from this one by path. A .pth file's paths come
    after its own packages, and the .pth files in them are not read: an editable install of this
    environment stays out.
    """
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=cwd)
    bin_ = folder / ("Scripts" if os.name == "nt" else "bin")
    purelib = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(run(bin_ / "python", "-c", purelib, cwd=cwd).strip())
    borrowed = [p for p in sys.path if Path(p).name in ("site-packages", "dist-packages")]
    (site / "borrowed.pth").write_text("\n".join(borrowed) + "\n")
    run(
        *(sys.executable, "-m", "pip", "--python", bin_ / "python", "install", "--no-deps"),
        *("--no-index", "--no-build-isolation", "--ignore-installed", "--no-compile", *what),
        cwd=cwd,
    )
    return bin_


def source_files() -> set[str]:
    """Each file that users need, by its place in the installed package."""
    found = set()
    for name in ("r2n_kernels", *PARTS):
        below = "" if name == "r2n_kernels" else "r2n_kernels/"
        names = files_of(name)
        found |= {below + n for n in names if not n.startswith((*CHECKOUT, MADE))}
    return found


def packages() -> list[str]:
    """Every package, as it is imported."""
    inits = [name for name in source_files() if name.endswith("/__init__.py")]
    return sorted(name.removesuffix("/__init__.py").replace("/", ".") for name in inits)


def checkout_files() -> set[str]:
    return set().union(*map(files_of, CHECKOUT))


def files_of(start: str) -> set[str]:
    """Each file there, or the file itself, but for what Python makes of it."""
    paths = (ROOT / start, *(ROOT / start).rglob("*"))
    files = [p for p in paths if p.is_file() and p.suffix != ".pyc"]
    return {p.relative_to(ROOT).as_posix() for p in files}


@pytest.fixture(scope="module")
def sdist(tmp_path_factory) -> Path:
    source = copy_sources(tmp_path_factory.mktemp("copy"))
    return build("sdist", source, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory) -> Path:
    """Built from the sdist, so that whatever the sdist lacks is missed here."""
    unpacked = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(unpacked, filter="data")
    (source,) = unpacked.iterdir()
    return build("wheel", source, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    return fresh_environment(tmp_path_factory.mktemp("fresh") / "env", elsewhere, wheel)


def test_sdist_has_sources_tests_and_licence(sdist):
    with tarfile.open(sdist) as archive:
        names = {m.name.partition("/")[2] for m in archive.getmembers() if m.isfile()}
    tests = {p.relative_to(ROOT).as_posix() for p in (ROOT / "tests").rglob("*.py")}
    sources = source_files()
    assert sources | tests | set(FILES) <= names
    extra = {n for n in names - sources - tests - set(FILES) if ".egg-info/" not in n}
    others = {"PKG-INFO", "setup.cfg"}
    assert extra == others | checkout_files()
    assert {"benchmarks/gpu/run.sh", "benchmarks/results/README.md"} <= extra


def test_wheel_has_the_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    package = {n for n in names if not n.startswith(f"{INFO}/")}
    assert package == source_files()
    for asset in ("imagenet_labels.txt", "digits/model.safetensors", "digits/config.json"):
        assert f"r2n_kernels/assets/{asset}" in package
    assert any(n.startswith("r2n_kernels/assets/digits/images/") for n in package)
    for template in ("page.html", "style.css"):
        assert f"r2n_kernels/benchmarks/report/{template}" in package
    assert {f"{INFO}/licenses/LICENSE", f"{INFO}/licenses/NOTICE"} <= names


def test_wheel_states_licence_and_requirements(wheel):
    with zipfile.ZipFile(wheel) as archive:
        metadata = Parser().parsestr(archive.read(f"{INFO}/METADATA").decode())
    assert metadata["License-Expression"] == "Apache-2.0"
    assert set(metadata["Requires-Python"].split(",")) == {">=3.10", "<3.14"}
    needed = {r for r in metadata.get_all("Requires-Dist") if "extra ==" not in r}
    assert "torch>=2.6" in needed
    assert not any(r.startswith(("timm", "torchvision", "scikit-learn")) for r in needed)
    assert set(metadata.get_all("Provides-Extra")) >= {"test", "timm", "train"}


def test_wheel_names_its_command_and_its_option_for_pytest(wheel):
    with zipfile.ZipFile(wheel) as archive:
        points = archive.read(f"{INFO}/entry_points.txt").decode().split("\n\n")
    assert {point.strip() for point in points} == {
        "[console_scripts]\nr2n = r2n_kernels.cli:main",
        "[pytest11]\ntriton-emulate-option = r2n_kernels.pytest_emulate",
    }


def test_every_package_imports_from_the_wheel(installed, tmp_path):
    python = installed / "python"
    files = json.loads(run(python, "-c", IMPORT_ALL, *packages(), cwd=tmp_path))
    for name, file in files.items():
        where = Path(file).resolve()
        assert where.is_relative_to(installed.parent.resolve()), name
        assert not where.is_relative_to(ROOT), name


def test_commands_run_from_the_wheel(installed, tmp_path):
    assert run(installed / "r2n", "--version", cwd=tmp_path).split() == [
        "r2n_kernels",
        r2n_kernels.__version__,
    ]
    models = run(installed / "r2n", "models", cwd=tmp_path)
    assert all(name in models for name in r2n_kernels.list_models())


def test_digit_is_classified_by_the_wheel(installed, tmp_path):
    (digits,) = installed.parent.rglob("r2n_kernels/assets/digits")
    image = digits / "images" / "digit_3_1.png"
    run(
        *(installed / "r2n", "classify", image, "--model", f"local-dir:{digits}"),
        *("--topk", "1", "--output", "rows.jsonl"),
        cwd=tmp_path,
    )
    row = json.loads((tmp_path / "rows.jsonl").read_text())
    assert row["status"] == "ok"
    assert row["topk"][0]["label"] == "3"


def test_checkout_without_links_is_refused(tmp_path):
    """Git writes a text file in place of a link where it may make none, as on some Windows."""
    source = copy_sources(tmp_path / "copy")
    (source / "r2n_kernels" / "kernels").unlink()
    (source / "r2n_kernels" / "kernels").write_text("../kernels")
    command = [sys.executable, "setup.py", "--name"]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "r2n_kernels/kernels must be a link to ../kernels" in done.stderr


@pytest.mark.slow
def test_editable_install(tmp_path):
    source = copy_sources(tmp_path / "copy")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    bin_ = fresh_environment(tmp_path / "env", elsewhere, "--editable", source)
    files = json.loads(run(bin_ / "python", "-c", IMPORT_ALL, *packages(), cwd=elsewhere))
    for name, file in files.items():
        expected = source.joinpath(*name.split("."), "__init__.py")
        assert Path(file).resolve() == expected.resolve()
    # from the checkout's own root, where the parts lie side by side, as from anywhere else
    assert json.loads(run(bin_ / "python", "-c", IMPORT_ALL, *packages(), cwd=source)) == files

"""Every block of the pages: Python runs, r2n parses its commands; links lead somewhere."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import yaml
from PIL import Image

import r2n_kernels
from r2n_kernels.cli import COMMANDS, build_parsers

from .documents import KERNELS, ROOT, Block, blocks, pages

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
KNOWN = ("bash", "cd", "cmp", "cp", "curl", "echo", "find", "git", "mypy", "pip", "pytest",
         "python", "python3", "ruff", "tritonserver", ".", "mkdocs")  # fmt: skip
SLOW = ("torch.export.export", "torch.compile", "from r2n_kernels.quantize", "resident")
LATER = ("import ray",)  # tests/batch has a cluster
COMPILED = ("ptx:", "emulator(arch=")  # no interpreter: in a process of their own


def told(block: Block) -> str:
    return str(block)


def shell_lines() -> list[tuple[Block, list[str]]]:
    """Return the words of each command of every shell block, joined over its line ends."""
    found = []
    for block in blocks("sh", ""):
        lines = block.text.replace("\\\n", " ").splitlines()
        if not block.language:  # what a terminal showed
            lines = [line.strip()[2:] for line in lines if line.strip().startswith("$ ")]
        for line in lines:
            for command in re.split(r" && | \| ", line):
                words = shlex.split(command, comments=True)
                while words and re.match(r"[A-Z_]+=", words[0]):  # a variable of the shell
                    del words[0]
                if words:
                    found.append((block, words))
    return found


@pytest.mark.parametrize(("block", "words"), shell_lines(), ids=lambda x: str(x)[:60])
def test_a_command_is_one(block, words, capsys):
    program, *rest = words
    if program != "r2n":
        assert program in KNOWN or ROOT.joinpath(program).exists(), program
        if program == "bash":
            assert ROOT.joinpath(rest[0]).is_file(), rest[0]
        if rest[:1] == ["-m"] and program.startswith("python") and rest[1] != "venv":
            assert find_spec(rest[1]), rest[1]
        return
    if rest in (["--help"], ["--version"]):
        return
    assert rest[0] in COMMANDS
    parser, _ = build_parsers(rest[0])
    try:
        parser.parse_args(rest)
    except SystemExit:
        pytest.fail(f"{block}: {capsys.readouterr().err}")


def python_blocks() -> list[Any]:
    def marked(block: Block) -> Any:
        slow = any(word in block.text for word in SLOW)
        return pytest.param(block, marks=[pytest.mark.slow] if slow else [])

    return [marked(b) for b in blocks("python") if not any(word in b.text for word in LATER)]


@pytest.fixture
def stand_ins(monkeypatch, tmp_path) -> dict[str, Any]:
    """What a page takes for granted: published weights (random ones), a GPU (the CPU), files."""
    monkeypatch.chdir(tmp_path)
    make, make_timm = r2n_kernels.create_model, timm.create_model

    def create_model(name: str, **options: Any) -> Any:
        if options.get("pretrained") or name.endswith(".r2n"):
            name, options["pretrained"] = "res2net50_48w_2s", False  # of the fewest nodes
        for option in ("device", "sha256"):
            options.pop(option, None)
        torch.manual_seed(0)  # published weights are the same in every call
        return make(name, **options)

    def create_timm(name: str, **options: Any) -> Any:
        return make_timm(name, **{**options, "pretrained": False})

    def from_network(cls, network, name, device=None, **options):
        return build(network, name, **options)

    from r2n_kernels.block import FusedBlock

    build = FusedBlock.from_network
    monkeypatch.setattr(FusedBlock, "from_network", classmethod(from_network))
    monkeypatch.setattr(r2n_kernels, "create_model", create_model)
    monkeypatch.setattr(timm, "create_model", create_timm)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *a: "NVIDIA H100")
    Image.new("RGB", (300, 200), (90, 20, 200)).save("cat.jpg")
    Path("tiles.json").write_text('{"schema": 1, "devices": {"NVIDIA H100": {"tiles": {}}}}')
    return {"images": torch.zeros(1, 32, 32, 3, dtype=torch.uint8), "torch": torch,
            "r2n_kernels": r2n_kernels, "HEX": "0" * 64}  # fmt: skip


@pytest.mark.parametrize("block", python_blocks(), ids=told)
def test_python_runs(block, stand_ins):
    if not any(word in block.text for word in COMPILED):
        exec(compile(block.text, str(block), "exec"), stand_ins)
        return
    Path("my_kernels.py").write_text(KERNELS)
    Path("block.py").write_text(f"import torch\n{block.text}")
    compiling = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    command = [sys.executable, "block.py"]
    done = subprocess.run(command, env=compiling, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def anchors(page: Path) -> set[str]:
    """Return the names that a page's titles have, as GitHub and the site make them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    plain = (re.sub(r"[`*]|\]\([^)]*\)|\[", "", title).lower() for title in titles)
    return {re.sub(r"[^\w\- ]", "", title).strip().replace(" ", "-") for title in plain}


@pytest.mark.parametrize("page", pages(), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    text = re.sub(r"(`+).*?\1", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in LINK.findall(text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


def test_notebook_runs():
    notebook = json.loads(ROOT.joinpath("docs/examples/first_steps.ipynb").read_text())
    space: dict[str, Any] = {}
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for cell in cells:
        exec(compile(cell["source"], cell["id"], "exec"), space)
    assert space["probabilities"].argmax() == 3
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))


def test_readme_is_short_and_begins_with_what_is_proven():
    lines = ROOT.joinpath("README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 110
    first_screen = "\n".join(lines[:24])
    for wanted in ("docs/throughput.svg", "proven how", "one H200, [measured]"):
        assert wanted in first_screen


def test_citation_and_changes_name_the_version():
    citation = yaml.safe_load(ROOT.joinpath("CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == r2n_kernels.__version__
    assert f"## {r2n_kernels.__version__}" in ROOT.joinpath("CHANGELOG.md").read_text()


@pytest.mark.slow
def test_site_builds_without_a_network(tmp_path):
    site = tmp_path / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    nowhere = {
        **os.environ,
        "https_proxy": "http://127.0.0.1:9",
        "http_proxy": "http://127.0.0.1:9",
    }
    done = subprocess.run(command, cwd=ROOT, env=nowhere, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    config = ROOT.joinpath("mkdocs.yml").read_text(encoding="utf-8")
    listed = re.findall(r"(\w+)\.md", config)
    assert sorted(listed) == sorted(p.stem for p in ROOT.joinpath("docs").glob("*.md"))
    for name in listed:
        page = site / "index.html" if name == "index" else site / name / "index.html"
        assert page.is_file()
        text = page.read_text(encoding="utf-8")
        assert not re.findall(r'(?:src|href)="(https?://[^"]+\.(?:js|css|woff2?))"', text)
    shutil.rmtree(site)

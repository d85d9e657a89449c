"""The files that decide what a kernel compiles to."""

from __future__ import annotations

import pytest

from r2n_kernels.compiled.sources import sources_of
from r2n_kernels.kernels.op import all_ops


def names(module: str) -> set[str]:
    return {path.name for path in sources_of(module)}


def test_an_op_has_its_own_file_and_what_it_shares():
    found = names("r2n_kernels.kernels.conv3")
    assert {"conv3.py", "device.py", "layout.py", "int8.py"} <= found
    assert not {"conv1.py", "stage.py", "ops.py", "images.py"} & found


def test_a_kernel_in_gluon_has_its_parts():
    assert {"images.py", "parts.py"} <= names("r2n_kernels.kernels.gluon.images")
    assert "windows.py" not in names("r2n_kernels.kernels.gluon.images")


def test_no_op_is_decided_by_anothers_file():
    """Else an edit of one kernel would make others outdated."""
    modules = {op.launcher.__module__ for op in all_ops().values()}
    files = {f"{module.rpartition('.')[2]}.py" for module in modules}
    for module in modules:
        assert names(module) & files == {f"{module.rpartition('.')[2]}.py"}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """package(files): a package `cases` of these files."""

    def make(**files: str) -> None:
        folder = tmp_path / "cases"
        (folder / "deep").mkdir(parents=True)
        for place in ("", "deep/"):
            (folder / f"{place}__init__.py").write_text("")
        for name, text in files.items():
            (folder / f"{name.replace('__', '/')}.py").write_text(text)
        monkeypatch.syspath_prepend(tmp_path)

    return make


def test_every_form_of_an_import_is_followed(package):
    package(
        a="from .b import f\nfrom . import c\nimport cases.d\nimport os\n"
        "def late():\n    from .deep.e import g\n",
        b="from cases import f\nraise RuntimeError('nothing is run')",
        c="from .a import late", d="", f="", unseen="",
        deep__e="from ..f import x\nfrom ...elsewhere import y",
    )  # fmt: skip
    assert names("cases.a") == {"a.py", "b.py", "c.py", "d.py", "e.py", "f.py"}


def test_no_such_module():
    with pytest.raises(ModuleNotFoundError, match=r"no module 'r2n_kernels\.kernels\.conv9'"):
        sources_of("r2n_kernels.kernels.conv9")

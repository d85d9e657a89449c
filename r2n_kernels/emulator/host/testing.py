"""A project's own GPU tests run in the emulator, each once per architecture: --triton-emulate."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from .context import emulator, interpreted
from .devices import device_of

FIXTURE = "triton_emulate_arch"


class EmulatedModule(pytest.Module):
    """An EmulatedModule is a test file that was imported, and runs, on one architecture.

    It is imported anew for each, so that what it asks a device at import, as marks do, has the
    right answer. Other modules are imported once: what they ask then, the first one answers.
    """

    emulated: Emulated
    arch: str

    def _getobj(self) -> Any:
        with self.emulated.opened(self.arch):
            own = str(self.path)
            for name, module in list(sys.modules.items()):
                if getattr(module, "__file__", None) == own:
                    del sys.modules[name]
            return super()._getobj()

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        with self.emulated.opened(self.arch):
            return list(super().collect())


class Emulated:
    """An Emulated is the plug-in where the option is given. empty: see emulator."""

    def __init__(self, config: pytest.Config, archs: Sequence[str], empty: str) -> None:
        if interpreted():
            raise pytest.UsageError(
                "--triton-emulate needs kernels compiled: unset TRITON_INTERPRET"
            )
        try:
            self.archs = [f"sm_{device_of(arch.strip()).arch}" for arch in archs]
        except ValueError as error:
            raise pytest.UsageError(f"--triton-emulate: {error}") from error
        self._open: list[str] = []
        self._empty = empty
        for arch in self.archs[1:]:
            config.pluginmanager.register(Again(self, arch), f"triton-emulate-{arch}")

    @contextmanager
    def opened(self, arch: str) -> Iterator[None]:
        """Emulate an architecture, unless it is what is emulated already."""
        if self._open and self._open[-1] == arch:
            yield
            return
        self._open.append(arch)
        try:
            with emulator(arch, cuda_as_cpu=True, progress=False, empty=self._empty):
                yield
        finally:
            self._open.pop()

    def module(self, path: Path, parent: Any, arch: str) -> EmulatedModule:
        made = EmulatedModule.from_parent(parent, path=path)
        made.emulated, made.arch = self, arch
        return made

    def pytest_report_header(self) -> str:
        return f"triton-emulate: {', '.join(self.archs)}; no time measured here is a GPU's"

    @pytest.hookimpl(wrapper=True)
    def pytest_load_initial_conftests(self) -> Generator[None, Any, Any]:
        with self.opened(self.archs[0]):
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_collection(self) -> Generator[None, Any, Any]:
        with self.opened(self.archs[0]):
            return (yield)

    @pytest.hookimpl(tryfirst=True)
    def pytest_pycollect_makemodule(self, module_path: Path, parent: Any) -> EmulatedModule:
        return self.module(module_path, parent, self.archs[0])

    @pytest.hookimpl(tryfirst=True)
    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        module = metafunc.definition.getparent(EmulatedModule)
        if module is not None:
            if FIXTURE not in metafunc.fixturenames:
                metafunc.fixturenames.append(FIXTURE)
            metafunc.parametrize(FIXTURE, [module.arch], indirect=True)

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        """Name the architecture of unittest's methods, whose ids take no parameters."""
        module = item.getparent(EmulatedModule)
        if module is not None and not hasattr(item, "callspec"):
            path, line, name = item.location
            item.location = path, line, f"{name}[{module.arch}]"

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        module = item.getparent(EmulatedModule)
        with ExitStack() as stack:
            if module is not None:
                stack.enter_context(self.opened(module.arch))
            return (yield)

    @pytest.fixture(name=FIXTURE)
    def _arch(self, request: pytest.FixtureRequest) -> str:
        """The architecture that a test runs on, as "sm_90"."""
        return request.param


class Again:
    """An Again collects every test file once more, for a further architecture."""

    def __init__(self, emulated: Emulated, arch: str) -> None:
        self.emulated, self.arch = emulated, arch

    @pytest.hookimpl(trylast=True)
    def pytest_collect_file(self, file_path: Path, parent: Any) -> EmulatedModule | None:
        patterns = parent.config.getini("python_files")
        named = parent.session.isinitpath(file_path)
        if file_path.suffix == ".py" and (
            named or any(fnmatch(file_path.name, pattern) for pattern in patterns)
        ):
            return self.emulated.module(file_path, parent, self.arch)
        return None

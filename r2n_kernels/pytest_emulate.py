"""pytest loads this file at its start, for the option --triton-emulate; nothing else without it.

pytest --triton-emulate sm_80,sm_90  # each test once per architecture, in the emulator
"""

from __future__ import annotations

import pytest

NAME = "triton-emulate"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("triton")
    group.addoption(
        "--triton-emulate", metavar="ARCHS", default="",
        help="run tests of Triton kernels without a GPU, once per architecture of a list as "
        "sm_80,sm_90, by r2n_kernels.emulator; torch's 'cuda' is the CPU",
    )  # fmt: skip
    group.addoption(
        "--triton-emulate-empty", choices=("report", "fill"), default="report",
        help="whether reading what torch.empty returned is an error, or yields NaNs",
    )  # fmt: skip


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    _register(early_config)


def pytest_configure(config: pytest.Config) -> None:
    _register(config)  # where a conftest names this plug-in, it comes too late for the other hook


def _register(config: pytest.Config) -> None:
    options = config.known_args_namespace
    archs = options.triton_emulate
    if archs and not config.pluginmanager.has_plugin(NAME):
        from .emulator.host.testing import Emulated

        config.pluginmanager.register(
            Emulated(config, archs.split(","), options.triton_emulate_empty), NAME
        )

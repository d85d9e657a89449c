"""Plain data beside the weights of a `.pth`: read past, never built.

torch's restricted unpickler refuses every global that it does not know, be it a numpy number. Here
each global of PLAIN is answered by a stand-in of the same name, which takes any arguments and does
nothing with them: what a file says about a date reaches neither `datetime` nor any other code.
"""

from __future__ import annotations

from typing import Any

_NUMPY = {
    "multiarray": ("scalar", "_reconstruct"),
    "numeric": ("_frombuffer",),
}
PLAIN = {
    **{f"{home}.{module}": names
       for home in ("numpy.core", "numpy._core") for module, names in _NUMPY.items()},
    "numpy": ("dtype", "ndarray", "bool_", "float16", "float32", "float64", "int32", "int64",
              "str_"),
    "argparse": ("Namespace",),
    "builtins": ("bool", "bytes", "dict", "float", "frozenset", "int", "list", "range", "slice",
                 "str", "tuple"),
    "datetime": ("date", "datetime", "time", "timedelta", "timezone"),
    "decimal": ("Decimal",),
    "fractions": ("Fraction",),
    "pathlib": ("Path", "PosixPath", "PurePath", "PurePosixPath", "PureWindowsPath",
                "WindowsPath"),
    "pathlib._local": ("Path", "PosixPath", "PurePath", "PurePosixPath", "PureWindowsPath",
                       "WindowsPath"),
    "torch.torch_version": ("TorchVersion",),
    "types": ("SimpleNamespace",),
    "uuid": ("UUID",),
}  # fmt: skip


class _Inert:
    """Whatever the file says, an object without contents."""

    def __new__(cls, *_arguments: Any) -> _Inert:
        return object.__new__(cls)

    def __init__(self, *_arguments: Any) -> None:
        pass

    def __setstate__(self, _state: Any) -> None:
        pass

    def __hash__(self) -> int:  # keys of mappings, members of sets
        return id(self)


class _Dict:
    """A defaultdict becomes a dict: a state dict may be in it."""

    def __new__(cls, *_arguments: Any) -> dict:  # type: ignore[misc]
        return {}


class _List:
    def __new__(cls, *_arguments: Any) -> list:  # type: ignore[misc]
        return []


def stand_ins() -> list[type]:
    """One class a global of PLAIN, for torch.serialization.safe_globals, which goes by the name."""
    found = {(module, name): _Inert for module, names in PLAIN.items() for name in names}
    found |= {("collections", "defaultdict"): _Dict, ("collections", "deque"): _List}
    return [type(name, (base,), {"__module__": module}) for (module, name), base in found.items()]

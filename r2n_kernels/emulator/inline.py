"""Calls of a module's own functions become their bodies, in a scope of their own.

    call.uni (retval0), f, (param0);      {.reg .b64 f_param_0; mov.b64 f_param_0, param0; body}

Parameters are registers then, and a result of several numbers is an array, as it was. What is
called but not defined here, as vprintf, stays a call.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass

PARAM = r"\.param\s+\.([bsuf]\d+)\s+([\w$]+)"
RESULT = r"\.param\s+(?:\.align\s+\d+\s+)?\.([bsuf]\d+)\s+([\w$]+)(\[\d+\])?"
FUNCTION = re.compile(rf"\.func\s*(?:\(\s*{RESULT}\s*\))?\s*([\w$]+)\s*\(([^)]*)\)[^;{{]*\{{")
# what the compiler writes around a call: parameters, their values, the call, its result
CALL = re.compile(
    r"\{\s*((?:\.param\s[^;]*;\s*)*)((?:st\.param\S*\s[^;]*;\s*)*)"
    r"(?:\.loc[^;]*;\s*)?call(?:\.uni)?\s+(?:\(([\w$]+)\)\s*,\s*)?([\w$]+)\s*(?:,\s*\(([^)]*)\))?\s*;"
    r"\s*((?:ld\.param\S*\s[^;]*;\s*)*)\}"
)
STORE = re.compile(r"\bst\.param\.(\w+)\s+\[([\w$]+)\]\s*,\s*([^;]+);")
LOAD = re.compile(r"\bld\.param\.(\w+)\s+([^,;]+),\s*\[([\w$]+)\]\s*;")
DEPTH = 8  # of calls in calls: a function that calls itself would never be done


@dataclass(frozen=True)
class Function:
    """A Function has parameters, as (type, name), and perhaps a result."""

    result: tuple[str, str, str] | None  # the third is "[8]", of an array of 8
    params: list[tuple[str, str]]
    body: str

    def called(self, body: str, number: int, arguments: list[str], result: str | None) -> str:
        """Return what a call does, in a scope; where it ends there is a label."""
        t, name, is_array = self.result or ("", "", "")
        scalar = bool(name) and not is_array
        variables = [*self.params, *([(t, name)] if scalar else [])]
        if is_array and result:
            body = re.sub(rf"(?<![\w$]){re.escape(name)}(?![\w$])", result, body)
        registers = "".join(f".reg .b{t[1:]} {name};" for t, name in variables)
        given = "".join(
            f"mov.b{t[1:]} {name}, {value};"
            for (t, name), value in zip(self.params, arguments, strict=True)
        )
        code = re.sub(
            r"\bret\s*;", f"bra $inlined_{number};", _as_moves(body, {n for _, n in variables})
        )
        kept = ""
        if scalar and result:
            kept = f"mov.b{t[1:]} {result}, {name};"
        return f"{{ {registers} {given} {{ {code} }} $inlined_{number}: {kept} }}"


def inline(text: str, start: int) -> str:
    """Return a module without comments, with the calls of the body that begins at `start` gone."""
    functions = _functions(text)
    if not functions:
        return text
    end, numbers = _end(text, start), itertools.count()

    def expanded(code: str, depth: int) -> str:
        def replace(match: re.Match[str]) -> str:
            declared, stores, result, name, arguments, loads = match.groups()
            function = functions.get(name)
            if function is None or depth == DEPTH:
                return match[0]
            arrays = re.findall(r"([\w$]+)\[", declared)
            if arrays and not (arrays == [result] and function.result and function.result[2]):
                return match[0]
            number = next(numbers)
            if arrays:
                unique = f"{result}_{number}"
                declared, loads = (re.sub(rf"\b{result}\b", unique, x) for x in (declared, loads))
                result = unique
            values = [value.strip() for value in (arguments or "").split(",") if value.strip()]
            body = expanded(function.body, depth + 1)
            body = function.called(body, number, values, result)
            registers = re.sub(r"\.param(\s+\.[bsuf]\d+\s+[\w$]+\s*;)", r".reg\1", declared)
            names = set(re.findall(r"[\w$]+(?=\s*;)", registers))
            return f"{{ {registers} {_as_moves(stores, names)} {body} {_as_moves(loads, names)} }}"

        return CALL.sub(replace, code)

    return text[:start] + expanded(text[start:end], 0) + text[end:]


def _functions(text: str) -> dict[str, Function]:
    found = {}
    for match in FUNCTION.finditer(text):
        t, result, array, name, params = match.groups()
        body = text[match.end() : _end(text, match.end()) - 1]
        found[name] = Function(
            (t, result, array or "") if t else None, re.findall(PARAM, params), body
        )
    return found


def _end(text: str, start: int) -> int:
    """Return the place behind the brace that closes a body."""
    depth = 1
    for match in re.compile(r"[{}]").finditer(text, start):
        depth += 1 if match[0] == "{" else -1
        if depth == 0:
            return match.end()
    return len(text)


def _as_moves(code: str, names: set[str]) -> str:
    """Read and write some parameters as registers."""

    def move(m: re.Match[str]) -> str:
        known = m[2] in names or m[3] in names
        return f"mov.b{m[1][1:]} {m[2]}, {m[3]};" if known else m[0]

    return LOAD.sub(move, STORE.sub(move, code))

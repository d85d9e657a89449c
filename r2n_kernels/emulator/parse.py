"""PTX text becomes a program: instructions with operands, labels, register widths, symbols."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from .clocks import order_of
from .errors import UnsupportedError
from .inline import inline
from .lines import source_files, source_of
from .types import TYPE, type_bits

STATEMENT = re.compile(r"\s*(?:(?P<brace>[{}])|(?P<label>[\w$]+):(?!:)|(?P<text>[^;]*);)")
CONSTANT = re.compile(
    r"^\s*(?:\.(?:visible|weak|common)\s+)*\.(?:global|const)\s+(?:\.align\s+\d+\s+)?\.([bsuf]\d+)\s+"
    r"([\w$]+)\s*(?:\[(\d+)\])?\s*(?:=\s*\{?([^;}]*)\}?)?\s*;",
    re.M,
)
PARAMETER = re.compile(r"\.([usbf]\d+)\b.*?([\w$]+)(?:\[(\d+)\])?\s*$", re.S)
WORDS = {"1": "b8", "2": "b16", "4": "b32", "8": "b64"}
LOC = re.compile(r"^\s*\.loc[^\n]*$", re.M)
ASSEMBLY = re.compile(r"// begin inline asm\n.*?// end inline asm", re.S)
HARMLESS = ("rn", "ftz", "approx", "full")  # rounding and flushing are those of numpy


@dataclass
class Instruction:
    """An Instruction's registers have names of their own in each scope of inline assembly."""

    text: str
    opcode: str
    operands: list[str]
    pred: str | None
    negated: bool
    source: str
    scopes: tuple[int, ...]
    index: int
    destinations: list[int] = field(default_factory=list)  # slots, filled in while compiling ...
    slots: set[int] = field(default_factory=set)  # ... those of all its registers ...
    stored: list[int] = field(default_factory=list)  # ... and of the values that a store stores

    def __post_init__(self) -> None:
        self.base, *self.modifiers = self.opcode.split(".")
        self.types = [m for m in self.modifiers if TYPE.fullmatch(m)]
        self.order = order_of(self.base, self.modifiers)

    def allow(self, *modifiers: str) -> None:
        """Refuse modifiers that would change the meaning."""
        known = (*modifiers, *self.types, *HARMLESS)
        odd = [m for m in self.modifiers if m not in known]
        if odd:
            raise UnsupportedError(f"modifier {', '.join(odd)} in {self.text}")


@dataclass
class Program:
    """A Program is a module's first .entry. symbols: shared offsets, None for the dynamic one."""

    name: str
    params: list[tuple[str, str]]
    blocks: dict[str, int]  # bytes of parameters passed by value, as tensor maps are
    widths: dict[str, int] = field(default_factory=dict)
    symbols: dict[str, int | None] = field(default_factory=dict)
    instructions: list[Instruction] = field(default_factory=list)
    labels: dict[tuple[int, str], int] = field(default_factory=dict)
    constants: dict[str, bytes] = field(default_factory=dict)  # tables of the module
    tables: dict[str, list[str]] = field(default_factory=dict)  # labels that brx.idx chooses from
    local: dict[str, int] = field(default_factory=dict)  # variables of lanes: their places
    static_shared: int = 0
    local_bytes: int = 0
    cluster: int = 1  # CTAs along x that run side by side

    def target(self, ins: Instruction, label: str) -> int:
        """Return the place of a label as `ins` sees it."""
        for scope in reversed(ins.scopes):
            if (scope, label) in self.labels:
                return self.labels[scope, label]
        raise UnsupportedError(f"label {label}")

    def targets(self, ins: Instruction, table: str) -> list[int]:
        """Return the places that a .branchtargets table names."""
        if table not in self.tables:
            raise UnsupportedError(f"table of labels {table}")
        return [self.target(ins, label) for label in self.tables[table]]

    def allocate_local(self, name: str, align: int, size: int) -> None:
        """Allocate a variable in local memory."""
        self.local[name] = -(-self.local_bytes // align) * align
        self.local_bytes = self.local[name] + size

    def allocate(self, declaration: str) -> None:
        """Allocate a variable in shared memory."""
        pattern = r"(?:\.align\s+(\d+)\s+)?\.[bsuf](\d+)\s+([\w$]+)(?:\[(\d*)\])?"
        align, bits, name, length = _matched(re.search(pattern, declaration), declaration).groups()
        start = -(-self.static_shared // int(align or 1)) * int(align or 1)
        self.symbols[name] = None if length == "" else start
        if length != "":
            self.static_shared = start + int(bits) // 8 * int(length or 1)


def _matched(match: re.Match[str] | None, text: str) -> re.Match[str]:
    if match is None:
        raise UnsupportedError(f"PTX {text!r}")
    return match


def split_operands(text: str) -> list[str]:
    """Split at commas outside braces and brackets."""
    out, depth, current = [], 0, ""
    for char in text:
        depth += (char in "{[(") - (char in "}])")
        if char == "," and depth == 0:
            out.append(current.strip())
            current = ""
        else:
            current += char
    return [*out, current.strip()] if current.strip() else out


def vector(text: str) -> list[str]:
    """Return the operands of "{a, b}" or "a"."""
    text = text.strip()
    return split_operands(text[1:-1]) if text.startswith("{") else [text]


def base_of(address: str) -> str | None:
    """Return the register or variable of "[base + offset]"; None for another operand."""
    match = re.match(r"\[\s*([^\s+\]]+)", address)
    return match[1] if match else None


class _Names:
    """_Names keeps registers by the scope that declares them: inline assembly declares its own."""

    def __init__(self, widths: dict[str, int]) -> None:
        self.widths = widths
        self.ranges: dict[str, int] = {}  # of "%r<9>": "%r" -> bits
        self.names: dict[tuple[int, str], str] = {}  # (scope, name) -> the unique name
        self.scopes, self._opened = [0], 0

    def open(self) -> None:
        self._opened += 1
        self.scopes.append(self._opened)

    def declare(self, statement: str) -> None:
        """Declare the registers of ".reg .b32 %r<9>" or ".reg .pred p, q"."""
        _, kind, rest = statement.split(None, 2)
        bits, scope = type_bits(kind[1:]), self.scopes[-1]
        for name in split_operands(rest):
            many = re.fullmatch(r"(.*)<(\d+)>", name)
            if many and many[1].startswith("%") and scope == 0:
                self.ranges[many[1]] = bits
                continue
            for one in [f"{many[1]}{i}" for i in range(int(many[2]))] if many else [name]:
                key = one if scope == 0 else f"{one}@{scope}"
                self.names[scope, one] = key
                self.widths[key] = bits

    def declare_variable(self, statement: str, program: Program) -> None:
        """Declare ".local .align 8 .b8 depot[64]" or ".param .b64 param0"."""
        pattern = r"\.\w+\s+(?:\.align\s+(\d+)\s+)?\.[bsuf](\d+)\s+([\w$]+)(?:\[(\d+)\])?"
        align, bits, name, n = _matched(re.fullmatch(pattern, statement), statement).groups()
        size, key = int(bits) // 8, name if self.scopes[-1] == 0 else f"{name}@{self.scopes[-1]}"
        self.names[self.scopes[-1], name] = key
        program.allocate_local(key, int(align or size), size * int(n or 1))

    def resolve(self, text: str) -> str:
        """Return the text with every register's name made unique."""
        local = [n for s, n in self.names if s in self.scopes and not n.startswith("%")]
        parts = [r"%[\w$]+(?:\.[xyzw])?", *(rf"(?<![\w%$]){re.escape(n)}\b" for n in local)]
        return re.sub("|".join(parts), self._unique, text)

    def _unique(self, match: re.Match) -> str:
        name = match[0]
        for scope in reversed(self.scopes):
            if (scope, name) in self.names:
                return self.names[scope, name]
        stem = re.fullmatch(r"(%[A-Za-z_$]+)\d+", name)
        if stem and stem[1] in self.ranges:
            self.widths[name] = self.ranges[stem[1]]
        return name


def parse(text: str) -> Program:
    """Parse a module. Raises UnsupportedError for one without .entry."""
    files = source_files(text)
    text = ASSEMBLY.sub(
        lambda match: LOC.sub("", match[0]), text
    )  # its lines are no lines of Python
    text = re.sub(r"/\*.*?\*/|//[^\n]*", " ", text, flags=re.S)
    text = re.sub(r"^(\s*\.loc\s[^\n]*)$", r"\1;", text, flags=re.M)  # .loc has no semicolon
    head = re.search(r"\.entry\s+(\w+)\s*\((.*?)\)(.*?)\{", text, re.S)
    if not head:
        raise UnsupportedError("the PTX has no .entry")
    text = inline(text, head.end())
    params, blocks = [], {}
    for p in split_operands(head[2]):
        kind, name, size = _matched(PARAMETER.search(p), p).groups()
        if size in WORDS:  # a half is an array of two bytes
            kind, size = WORDS[size], None
        params.append((name, "u64" if size else kind))
        if size:
            blocks[name] = int(size)
    program = Program(head[1], params, blocks, cluster=_cluster_size(head[3]))
    for t, name, count, values in CONSTANT.findall(text[: head.start()]):
        program.constants[name] = _table(t, int(count or 1), values)
    names = _Names(program.widths)
    for declaration in re.findall(r"^[^\n;{]*\.shared\s[^;{]*;", text[: head.start()], re.M):
        program.allocate(declaration)
    source, position, label = "?", head.end(), ""
    while names.scopes:
        match = _matched(STATEMENT.match(text, position), text[position : position + 80])
        position, statement = match.end(), " ".join((match["text"] or "").split())
        if match["brace"] == "{":
            names.open()
        elif match["brace"]:
            names.scopes.pop()
        elif match["label"]:
            label = match["label"]
            program.labels[names.scopes[-1], label] = len(program.instructions)
        elif statement.startswith(".loc "):
            source = source_of(statement, files) or source
        elif statement.startswith(".reg"):
            names.declare(statement)
        elif statement.startswith(".branchtargets"):
            program.tables[label] = split_operands(statement.split(None, 1)[1])
        elif statement.startswith(".shared"):
            program.allocate(statement)
        elif statement.startswith((".local", ".param")):
            names.declare_variable(statement, program)
        elif statement and not statement.startswith(".pragma"):
            program.instructions.append(
                _instruction(statement, names, source, len(program.instructions))
            )
    return program


def _table(t: str, count: int, values: str) -> bytes:
    """Return the bytes of a module's variable; what has no value is 0."""
    size = type_bits(t) // 8
    numbers = [
        int(v[2:], 16) if v[:2].lower() in ("0f", "0d") else int(v, 0)
        for v in split_operands(values)
    ]
    mask = (1 << 8 * size) - 1
    return b"".join((v & mask).to_bytes(size, "little") for v in numbers).ljust(count * size, b"\0")


def _cluster_size(directives: str) -> int:
    """Return the CTAs per cluster that an entry's directives ask for."""
    match = re.search(r"\.reqnctapercluster\s+(\d+(?:\s*,\s*\d+)*)", directives)
    if match is None:
        return 1
    x, *others = (int(n) for n in match[1].split(","))
    if any(n != 1 for n in others):
        raise UnsupportedError(f"clusters along y or z ({match[0]})")
    return x


def _instruction(statement: str, names: _Names, source: str, index: int) -> Instruction:
    pattern = r"(?:@(!?)(\S+)\s+)?([\w.:]+)\s*(.*)"
    match = _matched(re.match(pattern, statement), statement)
    operands = match[4] if match[3].startswith("bra") else names.resolve(match[4])
    pred = names.resolve(match[2]) if match[2] else None
    return Instruction(
        statement, match[3], split_operands(operands), pred, match[1] == "!", source,
        tuple(names.scopes), index,
    )  # fmt: skip

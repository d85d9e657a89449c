"""`r2n inspect model.r2n` describes a bundle; every part is held to its hash."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..text import counted, printable, text_table
from .output import write_json

if TYPE_CHECKING:
    from ..bundle import Bundle
    from ..bundle.manifest import Code, Shape

# kinds of parts, by how their names end or begin
KINDS = (
    ("code", lambda name: name.endswith(".cubin")),
    ("PTX", lambda name: name.endswith(".ptx")),
    ("plans", lambda name: name.startswith(("plan/", "proof/"))),
    ("weights", lambda name: name.startswith("weights/")),
)
TITLES = (
    "kernel", "target", "warps", "shared", "registers", "cubin", "first step", "batches",
)  # fmt: skip
LEGEND = "shared: bytes per CTA; registers: per thread; cubin: bytes; batches: that launch it"


def describe(path: str, json: str | None) -> None:
    """Print what a bundle is; as JSON into a file, or with "-" in place of the text.

    Raises BundleError where a part is damaged.
    """
    from ..bundle import open_bundle
    from ..bundle.file import part_sizes
    from ..weights.files import sha256_of

    bundle = open_bundle(path)
    sizes = dict(part_sizes(bundle.file))  # reads, and checks, all
    found = {
        "file": path,
        "bytes": Path(path).stat().st_size,
        "sha256": sha256_of(Path(path)),
        **facts(bundle),
        "code": [use.record(sizes) for use in uses(bundle)],
        "parts": dict(parts(sizes)),
        "proof": bundle.proof(),
    }
    if json != "-":
        print(text(found, bundle.offer()))
    if json:
        write_json(json, found)


def facts(bundle: Bundle) -> dict[str, Any]:
    """Return what the bundle says of its network."""
    manifest, labels = bundle.manifest, bundle.labels()
    return {
        "name": manifest.name,
        "dtype": str(manifest.dtype).removeprefix("torch."),
        "config": asdict(manifest.config),
        "pretrained_cfg": dict(manifest.pretrained_cfg),
        "made_with": dict(manifest.made_with),
        "shapes": [asdict(shape) for shape in manifest.shapes],
        "weights": None if manifest.weights is None else len(manifest.weights),
        "labels": None if labels is None else len(labels),
    }


@dataclass
class Use:
    """These shapes launch a piece of code; `step` is the first to do so in the first of them."""

    code: Code
    step: str
    shapes: list[Shape]

    def record(self, sizes: dict[str, int]) -> dict[str, Any]:
        code = self.code
        return {
            "key": code.key, "kernel": code.entry.removesuffix("_kernel"), "target": code.target,
            "warps": code.warps, "shared": code.shared, "registers": code.registers,
            "cubin": sizes[code.cubin], "first_step": self.step,
            "batches": sorted({shape.batch for shape in self.shapes}),
        }  # fmt: skip


def uses(bundle: Bundle) -> list[Use]:
    """Return the code in the order in which it is first launched."""
    found: dict[str, Use] = {}
    for shape in bundle.manifest.shapes:
        for code, step in bundle.plan(shape).codes.items():
            found.setdefault(code.key, Use(code, step, [])).shapes.append(shape)
    return list(found.values())


def parts(sizes: dict[str, int]) -> Iterator[tuple[str, int]]:
    """Yield kinds of parts and their bytes, the largest first."""
    kinds: Counter[str] = Counter()
    for name, size in sizes.items():
        kinds[next((kind for kind, holds in KINDS if holds(name)), name)] += size
    return iter(kinds.most_common())


def text(found: dict[str, Any], offer: str) -> str:
    """Return the description, for people."""
    count, labels = found["weights"], found["labels"]
    lines = {
        "network": f"{found['name']}, {found['dtype']}, {_bytes(found['bytes'])}",
        "SHA-256": found["sha256"],
        "made with": ", ".join(f"{name} {v}" for name, v in found["made_with"].items()),
        "has code for": offer,
        "weights": "none: for a checkpoint" if count is None else f"of {counted(count, 'layer')}",
        "labels": "none" if labels is None else str(labels),
        "proof": proof_text(found["proof"]),
        "parts": ", ".join(f"{kind} {_bytes(size)}" for kind, size in found["parts"].items()),
    }
    head = [f"{title:13} {printable(value)}" for title, value in lines.items()]
    rows = [[printable(cell) for cell in cells(one)] for one in found["code"]]
    return "\n".join([*head, "", *text_table([TITLES, *rows]), "", LEGEND])


def cells(one: dict[str, Any]) -> list[str]:
    """Return the texts of the columns of TITLES."""
    batches = ",".join(map(str, one["batches"]))
    values = [value for name, value in one.items() if name not in ("key", "batches")]
    return [*map(str, values), batches]


def proof_text(proof: dict[str, Any] | None) -> str:
    """Return what the proof of just these parts says, in a few words."""
    if proof is None:
        return "none: nobody ran this code in the emulator, or said so"
    verdict = "passed" if proof.get("passed") else "FAILED"
    return f"{verdict}: {counted(len(proof.get('codes', ())), 'kernel')} in the emulator"


def _bytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"

"""An opened bundle has its manifest, and plans with ops, weights and labels when asked for."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

import torch

from ..errors import BundleError, NoCodeError
from ..fold.triton_layout import PackedConv
from ..kernels.op import Op
from ..kernels.targets import TARGETS
from ..plan import Plan, Step
from ..text import printable
from .codec import decode_plan, names, whole
from .file import PROOF, BundleFile
from .manifest import Candidate, Code, Manifest, Shape
from .ops import Kernel, OpFacts, StoredLaunch
from .plans import StoredPlan

# what a parser of somebody's JSON may raise
DAMAGE = (
    KeyError,
    TypeError,
    ValueError,
    AttributeError,
    IndexError,
    RecursionError,
    OverflowError,
)


class Bundle:
    """A bundle was opened, and its manifest read. Parts are read, and checked, when needed."""

    def __init__(self, file: BundleFile) -> None:
        """Raise BundleError for a manifest of another schema, or one of impossible things."""
        self.file = file
        try:
            self.manifest = Manifest.decode(file.manifest)
        except DAMAGE as error:
            raise BundleError(f"{file}: its manifest cannot be honoured: {_said(error)}") from error
        for name in self.manifest.parts:
            if name not in file.names:
                raise BundleError(f"{file} is damaged: part '{printable(name)}' is missing")
        self._plans: dict[str, StoredPlan] = {}

    def __str__(self) -> str:
        return str(self.file)

    def shape(self, target: str, batch: int, height: int, width: int) -> Shape:
        """Return the shape that has code. Raises BundleError, naming what there is."""
        wanted = Shape(target, batch, height, width)
        if wanted not in self.manifest.shapes:
            raise NoCodeError(
                f"{self} has no code for {batch} images of {height}x{width} on {target}; it has "
                f"{self.offer()}"
            )
        return wanted

    def offer(self) -> str:
        """Say what it has code for: "batches 1, 8 of 224x224 on sm_80, sm_90"."""
        found: dict[tuple[Any, ...], list[str]] = {}
        for target in self.manifest.targets:
            mine = [shape for shape in self.manifest.shapes if shape.target == target]
            sizes = dict.fromkeys((shape.height, shape.width) for shape in mine)
            key = tuple(
                (size, tuple(s.batch for s in mine if (s.height, s.width) == size))
                for size in sizes
            )
            found.setdefault(key, []).append(target)
        return "; ".join(f"{_sized(key)} on {', '.join(targets)}" for key, targets in found.items())

    def batches(self, target: str, height: int, width: int) -> tuple[int, ...]:
        """Return the batches that it has code for in a size, the smallest first."""
        wanted = (target, height, width)
        shapes = self.manifest.shapes
        return tuple(sorted(s.batch for s in shapes if (s.target, s.height, s.width) == wanted))

    def plan(self, shape: Shape, *, proof: bool = False) -> StoredPlan:
        """Read a plan; for a proof the one that has the shape's code on few images."""
        return self._read(shape.proof if proof else shape.plan, shape, fewer=proof)

    def candidate(self, candidate: Candidate) -> StoredPlan:
        """Read the plan of a tile to try."""
        return self._read(candidate.plan, candidate.shape, fewer=False)

    def _read(self, name: str, shape: Shape, *, fewer: bool) -> StoredPlan:
        if name not in self._plans:
            try:
                data = json.loads(self.file.text(name))
                self._plans[name] = self._decode(data, shape, fewer)
            except BundleError:
                raise
            except DAMAGE as error:
                raise BundleError(f"{self}: part '{name}': {_said(error)}") from error
        return self._plans[name]

    def _decode(self, data: Mapping[str, Any], shape: Shape, fewer: bool) -> StoredPlan:
        plan = decode_plan(data, self.manifest.config, self.manifest.dtype)
        fits = 1 <= plan.batch <= shape.batch if fewer else plan.batch == shape.batch
        if not fits or (plan.height, plan.width) != (shape.height, shape.width):
            raise ValueError("it is of another shape")
        facts = {op: OpFacts(*map(names, fields)) for op, fields in data["ops"].items()}
        kinds = [
            {form: [StoredLaunch.decode(d, self.manifest.codes) for d in launches]
             for form, launches in forms.items()}
            for forms in data["launches"]
        ]  # fmt: skip
        launches = {
            step.name: kinds[kind]
            for step, kind in zip(plan.steps, whole(data["kinds"]), strict=True)
        }
        stored = StoredPlan(plan, facts, launches)
        stored.check(shape.target)
        return stored

    def weights(self) -> dict[str, PackedConv]:
        """Read the packed weights by step. Raises BundleError where there are none."""
        if self.manifest.weights is None:
            raise BundleError(f"{self} has no weights; pass a checkpoint")
        return {step: self._packed(step) for step in self.manifest.weights}

    def _packed(self, step: str) -> PackedConv:
        names = {part: f"weights/{step}/{part}" for part in ("weight", "bias", "shortcut")}
        weight, bias = self.file.tensor(names["weight"]), self.file.tensor(names["bias"])
        shortcut = None
        if names["shortcut"] in self.file.names:
            shortcut = self.file.tensor(names["shortcut"])
        kinds = {weight.dtype, *(() if shortcut is None else (shortcut.dtype,))}
        if kinds != {self.manifest.dtype} or bias.dtype != torch.float32:
            raise BundleError(f"{self}: the weights of {step} are in {weight.dtype}")
        return PackedConv(weight, bias, shortcut)

    def labels(self) -> tuple[str, ...] | None:
        """Return the names of the classes in their order, if the bundle has them."""
        if "labels" not in self.file.names:
            return None
        try:
            labels = tuple(map(str, json.loads(self.file.text("labels"))))
        except DAMAGE as error:
            raise BundleError(f"{self}: part 'labels': {_said(error)}") from error
        if len(labels) != (classes := self.manifest.config.num_classes):
            raise BundleError(f"{self} has {len(labels)} labels for {classes} classes")
        return labels

    def proof(self) -> dict[str, Any] | None:
        """Return the proof that belongs to just these parts; None without one.

        Raises BundleError for a proof of other parts.
        """
        if PROOF not in self.file.names:
            return None
        try:
            proof = dict(json.loads(self.file.text(PROOF)))
        except DAMAGE as error:
            raise BundleError(f"{self}: part '{PROOF}': {_said(error)}") from error
        if proof.get("content") != self.file.content():
            raise BundleError(f"{self}: its proof is of other contents; `r2n prove` renews it")
        return proof

    def named_target(self, name: str) -> str:
        """Return the name. Raises BundleError where the bundle has no code for it."""
        if name not in self.manifest.targets:
            raise NoCodeError(f"{self} has no code for {name}; it has {self.offer()}")
        return name

    def target_for(self, capability: int, shared: int) -> str:
        """Return the target whose code runs on a chip. Raises BundleError, naming what there is.

        capability: 90 for 9.0. shared: bytes of it that a CTA may have. Code runs on newer chips of
        its generation, but for that of sm_90 and later, which is for one chip (CUDA's
        architecture-specific features, which Triton uses there).
        """
        fits = [t for t in self.manifest.targets if _runs_on(TARGETS[t].capability, capability)]
        if not fits:
            raise NoCodeError(
                f"{self} has no code for compute capability {capability / 10}; it has "
                f"{self.offer()}"
            )
        target = max(fits, key=lambda t: TARGETS[t].capability)
        widest = max(code.shared for code in self._launched(target))
        if widest > shared:
            raise NoCodeError(
                f"{self}: its code for {target} needs {widest:,} bytes of shared memory, this GPU "
                f"has {shared:,}"
            )
        return target

    def _launched(self, target: str) -> Iterator[Code]:
        """Yield the code that plans launch on a target; of tiles to try some may be too large."""
        if self.manifest.candidates:
            for shape in self.manifest.shapes:
                if shape.target == target:
                    yield from self.plan(shape).codes
        else:
            yield from (c for c in self.manifest.codes.values() if c.target == target)


class TargetPlans:
    """TargetPlans have a bundle's plans for one target, and the ops of those that it gave."""

    def __init__(self, bundle: Bundle, target: str, kernel: Callable[[Code], Kernel]) -> None:
        """Take `kernel`, which makes what launches a code; that is made once."""
        self._bundle, self._target, self._kernel = bundle, target, cache(kernel)
        self._given: dict[int, StoredPlan] = {}  # by the identity of the plan, which it keeps

    def plan(self, batch: int, height: int, width: int) -> Plan:
        """Return the plan. Raises BundleError for a shape without code."""
        return self._give(self._bundle.plan(self._bundle.shape(self._target, batch, height, width)))

    def proof_plan(self, shape: Shape) -> Plan:
        """Return the plan that has a shape's code on few images."""
        return self._give(self._bundle.plan(shape, proof=True))

    def _give(self, stored: StoredPlan) -> Plan:
        self._given[id(stored.plan)] = stored
        return stored.plan

    def ops(self, plan: Plan) -> Callable[[Step], Op]:
        """Return what gives the op of each step of a plan that came from here."""
        return self._given[id(plan)].ops(self._kernel)


SPECIFIC = 90  # capability from which code is for one chip


def _runs_on(code: int, chip: int) -> bool:
    return code == chip or (code < SPECIFIC and code // 10 == chip // 10 and code < chip)


def _sized(key: tuple[Any, ...]) -> str:
    return ", ".join(
        f"batch{'es' * (len(batches) > 1)} {', '.join(map(str, batches))} of {h}x{w}"
        for (h, w), batches in key
    )


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:200]


def open_bundle(path: str | os.PathLike, *, sha256: str | None = None) -> Bundle:
    """Open a bundle. sha256: of the whole file, where the caller wants just that one.

    Raises BundleError for what is no bundle, is damaged, foreign, or another one.
    """
    return Bundle(BundleFile(path, sha256))

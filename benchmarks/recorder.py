"""A Recorder turns results of `network` and `steps` into records."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from ..measure.checkout import branch, code_hash, commit, kernels_hash, pull_request
from ..measure.machine import machine_facts, versions_of
from ..measure.timing import Samples
from ..plan import Plan
from ..proof.tolerance import Verdict
from .network import Result
from .peak import Peak
from .records import Record
from .steps import TWIN, StepResult


class Recorder:
    """A Recorder holds what all records of a run share, read once before anything is timed."""

    def __init__(
        self, model: str, device: torch.device, labels: Mapping[str, str] | None = None
    ) -> None:
        self.model = model
        self.machine = machine_facts(device)
        self.commit, self.dirty = commit()
        self.shared: dict[str, Any] = {
            "kernels": kernels_hash(), "code": code_hash(), "branch": branch(),
            "pull_request": pull_request(), "labels": labels or None, "run": uuid.uuid4().hex,
        }  # fmt: skip
        self.gpu = device.type == "cuda"

    def networks(
        self, results: Sequence[Result], plan: Plan, peak: Peak, scope: str
    ) -> Iterator[Record]:
        """Yield a record per result that was timed. plan: of this project's network, for costs."""
        for result in results:
            if result.samples and result.verdict:
                peer = result.peer
                ours = peer.ours and peer.backend == plan.backend
                moved = plan.bytes_read + plan.bytes_written + plan.weight_bytes
                yield self._record(
                    plan, result.samples, result.again, result.verdict, peak,
                    subject=peer.subject, layout=peer.layout, backend=peer.backend, scope=scope,
                    step=None, count=1, macs=plan.macs, bytes=moved if ours else None,
                    memory=result.memory, needs=peer.needs,
                )  # fmt: skip

    def steps(self, result: StepResult, plan: Plan, peak: Peak) -> Iterator[Record]:
        """Yield our record and the twin's; none where the step is wrong."""
        step = result.step
        sides = (
            (
                f"r2n_kernels, {plan.backend}",
                plan.backend,
                result.ours,
                result.again,
                step.bytes_l2,
            ),
            (TWIN, "torch", result.twin, None, 0),
        )
        for subject, backend, samples, again, bytes_l2 in sides:
            if samples:
                yield self._record(
                    plan, samples, again, result.verdict, peak,
                    subject=subject, layout="channels_last", backend=backend, scope="step",
                    step=step.name, count=result.count, macs=step.macs, bytes=result.bytes,
                    memory=None, bytes_l2=bytes_l2 or None,
                )  # fmt: skip

    def _record(
        self, plan: Plan, samples: Samples, again: Samples | None, verdict: Verdict, peak: Peak,
        needs: Sequence[str] = (), **rest: Any,
    ) -> Record:  # fmt: skip
        """Make a record. needs: packages that the subject runs on, beside torch."""
        torches = ("torch", "triton") if self.gpu else ("torch",)
        now = datetime.datetime.now(datetime.timezone.utc)
        return Record(
            model=self.model, dtype=str(plan.dtype).removeprefix("torch."), batch=plan.batch,
            height=plan.height, width=plan.width, machine=self.machine, commit=self.commit,
            dirty=self.dirty, versions=versions_of([*torches, *needs]),
            time=now.isoformat(timespec="seconds"),
            peak=peak.to_json(), samples=samples.rounds, again=again.rounds if again else (),
            wall=samples.wall or None, host=samples.host or None,
            parity={"passed": verdict.passed, "error": verdict.error, "limit": verdict.limit},
            **self.shared, **rest,
        )  # fmt: skip

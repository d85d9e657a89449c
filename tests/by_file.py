"""Each file runs whole in one of pytest-xdist's processes; those that share what they make, in one.

The longest come first; the others by their number of tests, as pytest-xdist has them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from xdist.scheduler import LoadFileScheduling

HEADLINE = "tests/compiled/test_headline"  # files that share what it compiles to, minutes of work
SHARING = {  # a folder's files that share workers and what they compiled
    "compiled": ("run", "build", "inspection", "mutation", "summary", "tables", "warm"),
    "cli": ("batches", "build", "describe", "execution", "inspect", "load", "warm"),
}
LONGEST = (  # first: begun last, one would keep a process busy while the other has nothing to do
    HEADLINE,
    "tests/kernels/test_steps.py",
    "tests/benchmarks/gpu/test_dry.py",
    "tests/compiled/test_tritons.py",
    "tests/compiled/test_variants.py",
    "tests/graphs/test_numbers.py",
    "tests/emulator/test_mutate.py",
    "tests/engine/test_triton_variants.py",
    "tests/compiled",
    "tests/compiled/test_bundled_headline.py",
    "tests/compiled/test_network.py",
    "tests/cli",
    "tests/compiled/test_resident.py",
    "tests/benchmarks/test_network.py",
    "tests/test_types.py",
)


class ByFile(LoadFileScheduling):
    """It also goes on after a process has crashed, where pytest-xdist 3.8 may wait for ever."""

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(HEADLINE):
            return HEADLINE
        file = Path(super()._split_scope(nodeid))
        shared = file.stem.removeprefix("test_") in SHARING.get(file.parent.name, ())
        return str(file.parent if shared else file)

    def _assign_work_unit(self, node: Any) -> None:
        longest = next((name for name in LONGEST if name in self.workqueue), None)
        if longest is not None:
            self.workqueue.move_to_end(longest, last=False)
        super()._assign_work_unit(node)

    def _reschedule(self, node: Any) -> None:
        if node not in self.registered_collections:  # it is new, and asks when it has collected
            return
        super()._reschedule(node)
        # it begins a test when it has the next one, or hears that none comes: one alone would wait
        while not node.shutting_down and self._pending_of(self.assigned_work[node]) < 2:
            if self.workqueue:
                self._assign_work_unit(node)
            else:
                node.shutdown()

    def remove_node(self, node: Any) -> str | None:
        """Give others what a crashed process had not begun, and not again what ended it."""
        files = self.assigned_work[node]
        left = [(tests, test) for tests in files.values() for test in tests if not tests[test]]
        for tests, crashed in left[:1]:
            tests[crashed] = True
        for file in [file for file, tests in files.items() if all(tests.values())]:
            del files[file]
        super().remove_node(node)
        return left[0][1] if left else None

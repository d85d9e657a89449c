"""r2n selftest tells whether the kernels compute the right thing on this machine."""

from __future__ import annotations

import argparse
import time

from ..errors import ConfigError
from .arguments import add_shared
from .output import check_output, write_json
from .progress import progress

EXAMPLES = """examples:
  r2n selftest
  r2n selftest --device cuda:1 --json selftest.json
  r2n selftest --quick

--quick runs float16 and few repeats. Without a GPU, TRITON_INTERPRET=1 r2n
selftest runs the same list at a small size in Triton's interpreter.

Weights are random and seeded: nothing is downloaded. The first run compiles
every kernel, which may take minutes; Triton keeps them. Limits: twice the
error of PyTorch in the same dtype, both against a wider one.

exit codes: 0 all passed; 1 a check failed; 2 no GPU, wrong usage; 130 stopped
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_shared(parser, "--device", default=None, help="cuda or cuda:N (default: the first GPU)")
    parser.add_argument("--quick", action="store_true", help="float16 and few repeats")
    add_shared(parser, "--json", help="write the results there, too")


def run(args: argparse.Namespace) -> int:
    check_output("--json", args.json)
    from .load import device_from

    device = None if args.device is None else device_from(args.device)
    try:
        from ..measure.machine import describe_environment
        from ..proof import selftest
    except ImportError as error:
        raise ConfigError(f"the self-test needs Triton: {error}") from error
    setup = selftest.default_setup(device, quick=args.quick)
    facts = describe_environment(setup.device)
    print("r2n selftest")
    sizes = f"{setup.size} px, batch {setup.batch}, {setup.repeats} repeats"
    for name, fact in {**facts, "tested": f"{setup.title}, {sizes}"}.items():
        print(f"{name:12} {fact}")
    print()
    start = time.perf_counter()
    results: list[selftest.CheckResult] = []
    checks = list(selftest.list_checks(setup, results))
    with progress(len(checks), "checks") as bar:
        for result in selftest.run_checks(checks):
            results.append(result)
            with bar.external_write_mode():
                print(result)
                bar.update(1)
    failed = sum(result.failed for result in results)
    seconds = time.perf_counter() - start
    verdict = "FAIL" if failed else "PASS"
    print(f"\nselftest: {verdict} ({len(results)} checks, {failed} failed, {seconds:.0f} s)")
    if args.json is not None:
        content = {"environment": facts, "passed": not failed, "seconds": round(seconds, 1)}
        content["checks"] = [result.as_json() for result in results]
        write_json(args.json, content)
    return 1 if failed else 0

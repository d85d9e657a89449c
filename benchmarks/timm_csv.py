"""Results of `network` go into CSV files with timm's columns: results/benchmark-infer-*.csv."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from ..errors import ConfigError
from ..measure.timing import Samples
from ..plan import Plan

COLUMNS = (
    "model", "infer_img_size", "infer_samples_per_sec", "infer_step_time", "infer_batch_size",
    "param_count", "infer_gmacs", "infer_macts",
)  # fmt: skip
CASE = ("model", "infer_img_size", "infer_batch_size")


def timm_row(model: str, samples: Samples, plan: Plan) -> dict[str, object]:
    """Make a line in timm's units and rounding. Raises ConfigError unless images are square."""
    if plan.height != plan.width:
        raise ConfigError(f"timm's tables hold square images, got {plan.height}x{plan.width}")
    seconds = samples.median
    values = (
        model, plan.height, round(plan.batch / seconds, 2), round(seconds * 1e3, 3), plan.batch,
        round(plan.config.parameters / 1e6, 2), round(plan.macs / plan.batch / 1e9, 2),
        round(plan.activations / plan.batch / 1e6, 2),
    )  # fmt: skip
    return dict(zip(COLUMNS, values, strict=True))


def timm_csv(rows: Sequence[dict[str, object]], old: str = "") -> str:
    """Write rows fastest first, as timm does, with those of an older file that are of other cases.

    Raises ConfigError where that has other columns.
    """
    kept = csv.DictReader(io.StringIO(old))
    if old and tuple(kept.fieldnames or ()) != COLUMNS:
        raise ConfigError(f"expected the columns {', '.join(COLUMNS)}, got {old[:80]!r}")
    cases = {tuple(str(row[name]) for name in CASE): row for row in (*kept, *rows)}
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        sorted(cases.values(), key=lambda row: -float(str(row["infer_samples_per_sec"])))
    )
    return out.getvalue()

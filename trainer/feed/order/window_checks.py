"""Whether a window draws from enough row groups to mix sorted rows."""

from __future__ import annotations

import numpy as np

from trainer.feed.order.plan import Plan
from trainer.feed.order.shuffle import LANES, windows_of

#: Of a sorted dataset a third of the batches of 1,024 lie outside a shuffle's 99.9 % with windows of 14 row groups, and
#: a hundredth with 50 (`python -m benchmarks.feed --only mixing`).
_FEW_UNITS = 2 * LANES
_ENOUGH_GROUPS = 6 * LANES
_MIB = 1024**2


def few_groups_warnings(plan: Plan, *, shuffle_bytes: int, row_bytes: int) -> tuple[str, ...]:
    """Warns where shuffle windows draw from few row groups; whether rows are sorted is not known.

    Args:
        plan: The read units of the training split.
        shuffle_bytes: `data.shuffle`.
        row_bytes: Bytes of a packed row.

    Returns:
        At most one warning, with the value of `data.shuffle` that is enough.
    """
    windows = windows_of(plan, 0, 0, shuffle=True)
    units = int(np.median([len(window.units) for window in windows]))
    if len(windows) == 1 or units >= _FEW_UNITS:
        return ()
    row_groups = len(np.unique(plan.shard.astype(np.int64) << 32 | plan.group))
    enough = -(-plan.total_rows * row_bytes * min(1.0, _ENOUGH_GROUPS / row_groups) // _MIB)
    return (
        f"data.shuffle: a window of {shuffle_bytes / _MIB:.3g} MiB draws from {units} row groups, or slices of large "
        f"ones, of {len(plan)}: if rows are sorted, batches are uneven; set it to {enough:.0f}MiB, or write smaller "
        "row groups",
    )

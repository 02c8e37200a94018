"""Whether a window draws from enough row groups to mix sorted rows."""

from __future__ import annotations

import numpy as np

from trainer.feed.order.shuffle import LANES, windows_of
from trainer.feed.packing.buffers import row_bytes
from trainer.feed.pipeline.source import encoded_bytes, plan_of
from trainer.feed.statistics.prepare import Prepared

#: Of a sorted set a third of the batches of 1,024 lie outside a shuffle's 99.9 % with windows of 14 row groups, and
#: a hundredth with 50 (`python -m benchmarks.feed --only mixing`).
_FEW_UNITS = 2 * LANES
_ENOUGH_GROUPS = 6 * LANES
_MIB = 1024**2


def mixing_warnings(prepared: Prepared) -> tuple[str, ...]:
    """A warning where training's windows draw from few row groups; whether rows are sorted nobody knows."""
    shuffle = prepared.config.data.shuffle
    if shuffle is False:
        return ()
    bytes_a_row = row_bytes(prepared.layout) + encoded_bytes(prepared)
    plan = plan_of(prepared, "train", bytes_a_row, shuffle=True)
    windows = windows_of(plan, 0, 0, shuffle=True)
    held = int(np.median([len(r.units) for r in windows]))
    if len(windows) == 1 or held >= _FEW_UNITS:
        return ()
    row_groups = len(np.unique(plan.shard.astype(np.int64) << 32 | plan.group))
    enough = -(-plan.total_rows * bytes_a_row * min(1.0, _ENOUGH_GROUPS / row_groups) // _MIB)
    return (
        f"data.shuffle: a window of {shuffle / _MIB:.3g} MiB draws from {held} row groups, or slices of large ones, of "
        f"{len(plan)}: if rows are sorted, batches are uneven; set it to {enough:.0f}MiB, or write smaller row groups",
    )

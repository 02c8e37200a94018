"""Compares the memory that reading a plan needs with the budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainer.errors import ConfigError
from trainer.feed.order.plan import Plan
from trainer.feed.order.shuffle import ShuffleWindow
from trainer.feed.packing.buffers import SPARE_SHARE
from trainer.feed.packing.memory_limit import BUDGET_SHARE, default_budget

_MIB = 1024**2
CHUNK_BYTES = 8 * _MIB
CHUNKS_AHEAD = 2
#: Two are queued, one is filled, one is handed over, and TensorFlow keeps those that it has cut batches from.
MOST_CHUNKS = CHUNKS_AHEAD + 5
#: Memory per column of a row group that is read in slices: dictionary, a decoded page and the stored page.
#: Writers make pages of about a MiB.
_SLICED_COLUMN_BYTES = 3 * _MIB
#: Memory per row of a window for its order: six int64 arrays.
_ORDER_BYTES = 6 * 8
#: Threads, the allocator's overhead, and batches that TensorFlow keeps (measured: 40 to 60 MiB).
_BESIDE_BYTES = 64 * _MIB


@dataclass(frozen=True)
class AtOnce:
    """What the budget has room for.

    Attributes:
        decoders: Decoders of large row groups that may stay open.
        images: Rows whose images may be decoded at the same time.
    """

    decoders: int
    images: int


def check_memory(
    budget: int | None,
    *,
    plan: Plan,
    windows: Sequence[ShuffleWindow],
    row_bytes: int,
    batch_size: int,
    threads: int,
    columns: int,
    image_bytes: int = 0,
    image_threads: int = 1,
) -> AtOnce:
    """Checks that the budget holds what reading a plan needs.

    Args:
        budget: `data.memory`; None: the default.
        plan: The read units.
        windows: Of an epoch.
        row_bytes: Of a packed row, its encoded bytes among them.
        batch_size: Rows of a global batch.
        threads: How many decode.
        columns: How many columns are read.
        image_bytes: What decoding the images of a row takes, each as large as the largest of its column.
        image_threads: How many rows' images are decoded at a time where they fit.

    Returns:
        How many images and decoders of large row groups there may be: as many as are of use, where they fit.

    Raises:
        ConfigError: It does not fit.
    """
    largest_unit = int((plan.stop - plan.start).max())
    # A row group is in memory as Arrow columns, and a second time where only some of its rows are kept.
    other = 2 * min(threads, len(plan)) * largest_unit * row_bytes
    other += MOST_CHUNKS * max(CHUNK_BYTES, batch_size * row_bytes)
    decoder_bytes = _SLICED_COLUMN_BYTES * columns
    sliced_groups = groups_open_at_once(plan, windows)
    in_use = min(threads, sliced_groups)
    window_rows = max(w.rows for w in windows)
    window = window_rows * row_bytes
    window += window // SPARE_SHARE
    other += in_use * decoder_bytes + window_rows * _ORDER_BYTES + _BESIDE_BYTES + image_bytes
    room = check_budget(budget, window if len(windows) > 1 else window // 2, other)
    images = image_threads if not image_bytes else min(image_threads, 1 + room // image_bytes)
    room -= (images - 1) * image_bytes
    return AtOnce(min(sliced_groups, in_use + room // decoder_bytes), images)


def groups_open_at_once(plan: Plan, windows: Sequence[ShuffleWindow]) -> int:
    """The most row groups that are open at a time, because windows take slices of them one after another.

    With slices of group 0 in windows 0 and 2, and of group 1 in windows 1 and 2, both are open in windows 1 and 2: 2.
    """
    names = plan.shard.astype(np.int64) << 32 | plan.group
    _, group_of, slices = np.unique(names, return_inverse=True, return_counts=True)
    # [groups]: the first and the last window that holds a slice; a row group is open from one to the other.
    first, last = np.full(len(slices), len(windows)), np.full(len(slices), -1)
    for number, window in enumerate(windows):
        np.minimum.at(first, group_of[window.units], number)
        np.maximum.at(last, group_of[window.units], number)
    opened = np.bincount(first[slices > 1], minlength=len(windows) + 1)
    closed = np.bincount(last[slices > 1] + 1, minlength=len(windows) + 1)
    return int(np.cumsum(opened - closed).max())


def check_budget(budget: int | None, window_bytes: int, other_bytes: int) -> int:
    """Checks that the budget holds the plan's need.

    Args:
        budget: `data.memory`; None: the default.
        window_bytes: One window's packed rows: two are held, one in use and the next being read.
        other_bytes: Row groups being decoded, and batches ready.

    Returns:
        The bytes that are left.

    Raises:
        ConfigError: It does not fit; names the shuffle that would.
    """
    allowed_bytes = budget or default_budget()
    needed_bytes = 2 * window_bytes + other_bytes
    if needed_bytes <= allowed_bytes:
        return allowed_bytes - needed_bytes
    whose = "data.memory" if budget else f"a third of the memory limit of {allowed_bytes * BUDGET_SHARE // _MIB} MiB"
    raised = f"raise data.memory to {-(-needed_bytes // _MIB)}MiB" + (
        "" if budget else ", with a limit that has room for it"
    )
    shuffle_bytes = (allowed_bytes - other_bytes) // 2 * SPARE_SHARE // (SPARE_SHARE + 1)
    raise ConfigError(
        f"the feed needs {-(-needed_bytes // _MIB)} MiB and may hold {allowed_bytes // _MIB} MiB, {whose}",
        where="run.data.shuffle",
        remedy=f"set data.shuffle to at most {shuffle_bytes // _MIB}MiB, or {raised}" if shuffle_bytes >= _MIB
        else f"{raised}, or write smaller row groups",
    )  # fmt: skip

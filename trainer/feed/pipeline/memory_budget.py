"""How much memory the feed may hold, and what its plan will need."""

from __future__ import annotations

import os
from pathlib import Path

from trainer.errors import ConfigError
from trainer.feed.packing.buffers import SPARE_SHARE
from trainer.feed.pipeline.chunks import CHUNK_BYTES, MOST_CHUNKS
from trainer.feed.pipeline.source import Source

_MIB = 1024**2
#: Of each column of a row group that is read in slices: its dictionary, a decoded page and the page as it is stored.
#: Writers make pages of about a MiB.
_SLICED_COLUMN_BYTES = 3 * _MIB
#: int64 arrays as long as a window that its shuffle takes.
_ORDER_BYTES = 6 * 8
#: Threads, the allocator's own, and what TensorFlow holds of batches (measured: 40 to 60 MiB).
_BESIDE_BYTES = 64 * _MIB
_CGROUP_FILES = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_SHARE = 3


def physical_bytes() -> int:
    """Memory of the machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def default_budget(cgroup_files: tuple[str, ...] = _CGROUP_FILES, physical: int | None = None) -> int:
    """A third of the cgroup's limit (v2, then v1), else of physical memory, in bytes.

    Args:
        cgroup_files: Where limits stand.
        physical: Memory of the machine; asked for where it is not given.
    """
    whole = physical or physical_bytes()
    for file in cgroup_files:
        try:
            text = Path(file).read_text().strip()
        except OSError:
            continue
        if text.isdigit() and int(text) < whole:
            return int(text) // _SHARE
    return whole // _SHARE


def check_memory(budget: int | None, source: Source, threads: int) -> int:
    """Checks that the budget holds what a source will need.

    Args:
        budget: `data.memory`; None: the default.
        source: What is to be read.
        threads: How many decode.

    Returns:
        How many decoders of large row groups may stay open: as many as the plan opens at a time, where they fit.

    Raises:
        ConfigError: It does not fit.
    """
    plan, rounds = source.plan, source.rounds(0)
    largest_piece = int((plan.stop - plan.start).max())
    # A row group is there as Arrow columns, and once more where only some of its rows are kept.
    other = 2 * min(threads, len(plan)) * largest_piece * source.row_bytes
    other += MOST_CHUNKS * max(CHUNK_BYTES, source.batch_size * source.row_bytes)
    decoder_bytes = _SLICED_COLUMN_BYTES * len(source.packer.names)
    sliced_groups = source.sliced_groups
    in_use = min(threads, sliced_groups)
    other += in_use * decoder_bytes
    window_rows = max(r.rows for r in rounds)
    window = window_rows * source.row_bytes
    window += window // SPARE_SHARE
    other += window_rows * _ORDER_BYTES + _BESIDE_BYTES
    room = check_budget(budget, window if len(rounds) > 1 else window // 2, other)
    return min(sliced_groups, in_use + room // decoder_bytes)


def check_budget(budget: int | None, window_bytes: int, other_bytes: int) -> int:
    """Checks that the budget holds the plan's need.

    Args:
        budget: `data.memory`; None: the default.
        window_bytes: One round's packed rows: two are held, one in use and the next being read.
        other_bytes: Row groups being decoded, and batches ready.

    Returns:
        The bytes that are left.

    Raises:
        ConfigError: It does not fit; names the shuffle that would.
    """
    held = budget or default_budget()
    need = 2 * window_bytes + other_bytes
    if need <= held:
        return held - need
    whose = "data.memory" if budget else f"a third of the memory limit of {held * _SHARE // _MIB} MiB"
    raised = f"raise data.memory to {-(-need // _MIB)}MiB" + ("" if budget else ", with a limit that has room for it")
    fits = (held - other_bytes) // 2 * SPARE_SHARE // (SPARE_SHARE + 1)
    raise ConfigError(
        f"the feed needs {-(-need // _MIB)} MiB and may hold {held // _MIB} MiB, {whose}", where="run.data.shuffle",
        remedy=f"set data.shuffle to at most {fits // _MIB}MiB, or {raised}" if fits >= _MIB
        else f"{raised}, or write smaller row groups",
    )  # fmt: skip

"""How much memory the feed may hold, and what its plan will need."""

from __future__ import annotations

from trainer.errors import ConfigError
from trainer.feed.packing.buffers import SPARE_SHARE
from trainer.feed.pipeline.chunks import CHUNK_BYTES, MOST_CHUNKS
from trainer.feed.pipeline.source import Source
from trainer.machine import memory_limit_bytes

_MIB = 1024**2
#: Of each column of a row group that is read in slices: its dictionary, a decoded page and the page as it is stored.
#: Writers make pages of about a MiB.
_SLICED_COLUMN_BYTES = 3 * _MIB
#: int64 arrays as long as a window that its shuffle takes.
_ORDER_BYTES = 6 * 8
#: Threads, the allocator's own, and what TensorFlow holds of batches (measured: 40 to 60 MiB).
_BESIDE_BYTES = 64 * _MIB
_SHARE = 3


def default_budget(cgroup_files: tuple[str, ...] | None = None, physical: int | None = None) -> int:
    """A third of `memory_limit_bytes`, whose arguments these are."""
    files = {} if cgroup_files is None else {"cgroup_files": cgroup_files}
    return memory_limit_bytes(physical=physical, **files) // _SHARE


def check_memory(budget: int | None, source: Source, threads: int) -> None:
    """Holds what a source will need against the budget.

    Args:
        budget: `data.memory`; None: the default.
        source: What is to be read.
        threads: How many decode.

    Raises:
        ConfigError: It does not fit.
    """
    plan, rounds = source.plan, source.rounds(0)
    largest_piece = int((plan.stop - plan.start).max())
    # A row group is there as Arrow columns, and once more where only some of its rows are kept.
    other = 2 * min(threads, len(plan)) * largest_piece * source.row_bytes
    other += MOST_CHUNKS * max(CHUNK_BYTES, source.batch_size * source.row_bytes)
    if source.is_sliced:
        other += _SLICED_COLUMN_BYTES * len(source.packer.names)
    window_rows = max(r.rows for r in rounds)
    window = window_rows * source.row_bytes
    window += window // SPARE_SHARE
    other += window_rows * _ORDER_BYTES + _BESIDE_BYTES
    check_budget(budget, window if len(rounds) > 1 else window // 2, other)


def check_budget(budget: int | None, window_bytes: int, other_bytes: int) -> None:
    """Holds the plan's need against the budget.

    Args:
        budget: `data.memory`; None: the default.
        window_bytes: One round's packed rows: two are held, one in use and the next being read.
        other_bytes: Row groups being decoded, and batches ready.

    Raises:
        ConfigError: It does not fit; names the shuffle that would.
    """
    held = budget or default_budget()
    need = 2 * window_bytes + other_bytes
    if need <= held:
        return
    whose = "data.memory" if budget else f"a third of the memory limit of {held * _SHARE // _MIB} MiB"
    raised = f"raise data.memory to {-(-need // _MIB)}MiB" + ("" if budget else ", with a limit that has room for it")
    fits = (held - other_bytes) // 2 * SPARE_SHARE // (SPARE_SHARE + 1)
    raise ConfigError(
        f"the feed needs {-(-need // _MIB)} MiB and may hold {held // _MIB} MiB, {whose}", where="run.data.shuffle",
        remedy=f"set data.shuffle to at most {fits // _MIB}MiB, or {raised}" if fits >= _MIB
        else f"{raised}, or write smaller row groups",
    )  # fmt: skip

"""How much memory the feed may hold where `data.memory` does not say."""

from __future__ import annotations

from trainer.machine import memory_limit_bytes

#: The budget is the limit divided by this.
BUDGET_SHARE = 3


def default_budget(cgroup_files: tuple[str, ...] | None = None, physical: int | None = None) -> int:
    """A third of `memory_limit_bytes`, whose arguments these are."""
    files = {} if cgroup_files is None else {"cgroup_files": cgroup_files}
    return memory_limit_bytes(physical=physical, **files) // BUDGET_SHARE

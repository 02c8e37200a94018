"""The trainer as a process of its own, and what its runs leave."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from trainer.checkpoint.run_folder import RunFolder
from trainer.checkpoint.store import CheckpointStore, Snapshot

#: What a successful run leaves below its folder.
RUN_FILES = {
    *("checkpoints", "config.json", "log.txt", "metrics.jsonl", "model", "report.html", "result.json"),
    *("statistics.json", "tensorboard"),
}


def environment(folder: Path, **more: str) -> dict[str, str]:
    """The environment of a trainer with a cache in `folder`, which belongs to no run yet."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("KFIT_")}
    return {**inherited, "KFIT_CACHE": str(folder / "cache"), **more}


def trainer(folder: Path, *words: str, timeout_s: float = 240, **env: str) -> subprocess.CompletedProcess[str]:
    """Runs `trainer` to its end, with a cache in `folder`."""
    return subprocess.run(
        [sys.executable, "-m", "trainer", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
        env=environment(folder, **env),
    )


def newest_checkpoint(output: object, run: str) -> Snapshot:
    """The newest checkpoint of a run below an output folder."""
    snapshot = CheckpointStore(RunFolder(str(output), run), keep=3, note=print).newest()
    assert snapshot is not None
    return snapshot

"""The workers of a run as processes, forked from one that has imported TensorFlow; any of them may be hurt."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults import killable_run

Hurt = Callable[[list[int]], None]


@dataclass(frozen=True)
class End:
    """How the workers ended.

    Attributes:
        codes: Exit code of each worker (negative: the signal).
        seconds: From the hurt, or the start without one, to the end of the last.
        stderr: What each wrote to it.
    """

    codes: list[int]
    seconds: float
    stderr: list[str] = field(repr=False)


def run(
    words: list[str],
    folder: Path,
    workers: int,
    *,
    environ: Mapping[int, Mapping[str, str]] | None = None,
    folders: Mapping[int, Path] | None = None,
    when: Callable[[str], bool] | None = None,
    hurt: Hurt | None = None,
    timeout_s: float = 180.0,
) -> End:
    """Runs `trainer` with these words in each worker.

    Args:
        words: What follows `trainer` on its command line.
        folder: For what the workers say.
        workers: How many; 1: a run of one worker.
        environ: Worker -> what is added to its environment.
        folders: Worker -> its working directory.
        when: Called with what the chief has said so far, until it gives True; then comes the hurt.
        hurt: Called with the process ids.
        timeout_s: Who takes longer hangs, and ends with -SIGABRT.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    children = []
    for index in range(workers):
        stderr, operations = folder / f"stderr-{index}", folder / f"operations-{index}"
        stderr.write_text("")
        operations.write_text("")
        child = os.fork()
        if child == 0:
            place = {
                "KFIT_NODES": str(workers),
                "JOB_COMPLETION_INDEX": str(index),
                "KFIT_MEETING_PORT": str(port),
                "KFIT_WORKERS_SECRET": "known to these workers",
            }
            os.environ.update({**place, **((environ or {}).get(index, {}))})
            if folders and index in folders:
                os.chdir(folders[index])
            killable_run._live(words, stderr, operations, killable_run.KillPoint())
        children.append(child)
    return _observe(children, folder, when, hurt, timeout_s)


def _observe(
    children: list[int], folder: Path, when: Callable[[str], bool] | None, hurt: Hurt | None, timeout_s: float
) -> End:
    began = time.monotonic()
    until = began + timeout_s
    codes: dict[int, int] = {}
    while len(codes) < len(children):
        for child in children:
            if child not in codes and (done := os.waitpid(child, os.WNOHANG))[0]:
                codes[child] = os.waitstatus_to_exitcode(done[1])
        if hurt and when and when((folder / "stderr-0").read_text(errors="replace")):
            hurt(children)
            hurt, began = None, time.monotonic()
        _end_stopped(children, codes)
        if time.monotonic() > until:
            for child in children:
                if child not in codes:
                    os.kill(child, signal.SIGABRT)  # a hang: the caller sees a code no run ends with
                    os.kill(child, signal.SIGCONT)
        time.sleep(0.02)
    stderr = [(folder / f"stderr-{index}").read_text(errors="replace") for index in range(len(children))]
    return End([codes[child] for child in children], time.monotonic() - began, stderr)


def _end_stopped(children: list[int], codes: Mapping[int, int]) -> None:
    """A worker that was stopped is let go once the others have left it behind; it must leave too."""
    left = [child for child in children if child not in codes]
    if codes and left:
        for child in left:
            with contextlib.suppress(OSError):
                if Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] == "T":
                    os.kill(child, signal.SIGCONT)

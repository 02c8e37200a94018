"""Runs that are killed at a chosen moment: a process that has imported TensorFlow forks a child for each run.

Forking spares each of several hundred runs the seconds of the import; neither TensorFlow nor a store is initialised
before the fork. A child's run skips only the proof of the export in a clean process (a second import of TensorFlow,
without store operations).
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import random
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainer import cli
from trainer.storage import calls
from trainer.tensorflow_import import import_tensorflow

import_tensorflow()
export = importlib.import_module("trainer.serving.export")
for name in ("trainer.report.page", "trainer.training.session"):
    importlib.import_module(name)  # what a run imports on its way


@dataclass
class KillPoint:
    """When a run is killed.

    Attributes:
        before_operation, after_operation: At that store operation (from 1) it sends itself SIGKILL.
        after_s: So many seconds after its start, by `signal_number` from outside.
    """

    before_operation: int = 0
    after_operation: int = 0
    after_s: float = 0.0
    signal_number: int = signal.SIGKILL


@dataclass(frozen=True)
class End:
    """How a process ended: exit code (negative: the signal), seconds, store operations, stderr."""

    code: int
    seconds: float
    operations: list[str] = field(repr=False)
    stderr: str = field(repr=False)


def run(
    words: list[str],
    folder: Path,
    kill_at: KillPoint | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    watch: Callable[[str, int], bool] | None = None,
    timeout_s: float = 120.0,
) -> End:
    """Runs `trainer` with these words in a child process, which may be killed.

    Args:
        words: What follows `trainer` on its command line.
        folder: For its stderr.
        kill_at: When it is killed; by default never.
        environ: Added to its environment.
        watch: Called every few milliseconds with its stderr so far and its process id, until it returns True.
        timeout_s: A process that takes longer is taken to hang and ended by SIGABRT.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kill_at = kill_at or KillPoint()
    stderr, operations = folder / "stderr", folder / "operations"
    operations.write_text("")
    stderr.write_text("")
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        # The child must not finalise the parent's objects: their connections belong to another event loop.
        gc.freeze()
        os.environ.update(environ or {})
        _live(words, stderr, operations, kill_at)
    killer = threading.Timer(kill_at.after_s or timeout_s, _kill, (child, kill_at))
    killer.start()
    if watch is not None:
        _observe(watch, stderr, child)
    _, status = os.waitpid(child, 0)
    killer.cancel()
    return End(
        os.waitstatus_to_exitcode(status),
        time.monotonic() - began,
        operations.read_text().splitlines(),
        stderr.read_text(errors="replace"),
    )


def _observe(watch: Callable[[str, int], bool], stderr: Path, child: int) -> None:
    while os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if watch(stderr.read_text(errors="replace") if stderr.exists() else "", child):
            return
        time.sleep(0.01)


def _kill(child: int, kill_at: KillPoint) -> None:
    if not kill_at.after_s:
        os.kill(child, signal.SIGABRT)  # a hang: the caller sees a code no run ends with
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, kill_at.signal_number)


def _live(words: list[str], stderr: Path, operations: Path, kill_at: KillPoint) -> None:
    code = 99
    try:
        for number, target in ((1, os.devnull), (2, str(stderr))):
            handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            os.dup2(handle, number)
        sys.stdout, sys.stderr = os.fdopen(1, "w", 1, closefd=False), os.fdopen(2, "w", 1, closefd=False)
        calls.call = _killable(calls.call, operations, kill_at)
        export.prove = lambda *_: None
        random.seed()
        code = cli.run(cli.cli, words)
        sys.stderr.flush()
    except BaseException:  # a fault of this harness: `cli.run` lets nothing out
        traceback.print_exc()
        raise
    finally:
        os._exit(code)


def _killable(call: Callable[..., Any], operations: Path, kill_at: KillPoint) -> Callable[..., Any]:
    """Counts store operations, and kills the process before or after the chosen one."""
    lock = threading.Lock()
    count = 0
    log = operations.open("a", buffering=1)

    def counted(verb: str, uri: str, operation: Callable[[], Any], *rest: Any, **named: Any) -> Any:
        nonlocal count
        with lock:
            count += 1
            number = count
            log.write(f"{verb} {uri}\n")
        if number == kill_at.before_operation:
            os.kill(os.getpid(), signal.SIGKILL)
        done = call(verb, uri, operation, *rest, **named)
        if number == kill_at.after_operation:
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    return counted

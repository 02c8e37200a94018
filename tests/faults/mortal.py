"""Runs that die on purpose: a process that has imported TensorFlow forks one child a run, and kills it.

Forking spares each of several hundred runs the seconds of the import; nothing of TensorFlow or of the
store is initialised before the fork. Left out of a child's run is only the proof of the export in a clean
process (a second import of TensorFlow, and no store operation).
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
class Death:
    """When a run dies.

    Attributes:
        before_operation, after_operation: At that store operation (from 1), SIGKILL by its own hand.
        after_s: So many seconds after its start, by `signal_number` from outside.
    """

    before_operation: int = 0
    after_operation: int = 0
    after_s: float = 0.0
    signal_number: int = signal.SIGKILL


@dataclass(frozen=True)
class End:
    """How a process ended: exit code (negative: the signal), seconds, store operations, words on stderr."""

    code: int
    seconds: float
    operations: list[str] = field(repr=False)
    said: str = field(repr=False)


def run(
    words: list[str],
    folder: Path,
    death: Death | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    watch: Callable[[str, int], bool] | None = None,
    timeout_s: float = 120.0,
) -> End:
    """Runs `trainer` with these words in a child, which may die on its way.

    Args:
        words: What follows `trainer` on its command line.
        folder: For what it says.
        death: When it dies; by default it does not.
        environ: Added to its environment.
        watch: Called every few milliseconds with what it has said so far and its process, until it gives True.
        timeout_s: A process that takes longer hangs, and ends with -SIGABRT.
    """
    folder.mkdir(parents=True, exist_ok=True)
    death = death or Death()
    said, operations = folder / "stderr", folder / "operations"
    operations.write_text("")
    said.write_text("")
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        # What the parent leaves behind is not the child's to end: its connections belong to another loop.
        gc.freeze()
        os.environ.update(environ or {})
        _live(words, said, operations, death)
    killer = threading.Timer(death.after_s or timeout_s, _kill, (child, death))
    killer.start()
    if watch is not None:
        _observe(watch, said, child)
    _, status = os.waitpid(child, 0)
    killer.cancel()
    return End(
        os.waitstatus_to_exitcode(status),
        time.monotonic() - began,
        operations.read_text().splitlines(),
        said.read_text(errors="replace"),
    )


def _observe(watch: Callable[[str, int], bool], said: Path, child: int) -> None:
    while os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if watch(said.read_text(errors="replace") if said.exists() else "", child):
            return
        time.sleep(0.01)


def _kill(child: int, death: Death) -> None:
    if not death.after_s:
        os.kill(child, signal.SIGABRT)  # a hang: the caller sees a code no run ends with
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, death.signal_number)


def _live(words: list[str], said: Path, operations: Path, death: Death) -> None:
    code = 99
    try:
        for number, target in ((1, os.devnull), (2, str(said))):
            handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            os.dup2(handle, number)
        sys.stdout, sys.stderr = os.fdopen(1, "w", 1, closefd=False), os.fdopen(2, "w", 1, closefd=False)
        calls.call = _mortal(calls.call, operations, death)
        export.prove = lambda *_: None
        random.seed()
        code = cli.run(cli.cli, words)
        sys.stderr.flush()
    except BaseException:  # a fault of this harness: `cli.run` lets nothing out
        traceback.print_exc()
        raise
    finally:
        os._exit(code)


def _mortal(call: Callable[..., Any], operations: Path, death: Death) -> Callable[..., Any]:
    """Counts store operations, and dies before or after the one that is asked for."""
    lock = threading.Lock()
    count = 0
    log = operations.open("a", buffering=1)

    def counted(verb: str, uri: str, operation: Callable[[], Any], *rest: Any, **named: Any) -> Any:
        nonlocal count
        with lock:
            count += 1
            number = count
            log.write(f"{verb} {uri}\n")
        if number == death.before_operation:
            os.kill(os.getpid(), signal.SIGKILL)
        done = call(verb, uri, operation, *rest, **named)
        if number == death.after_operation:
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    return counted

"""`trainer fit --workers N`: the workers of a run as processes of this machine."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import IO

from trainer.errors import ExitCode
from trainer.progress import terminal

#: Of several codes the one that says most: a peer that was lost only follows from what became of it.
_WORST = (
    ExitCode.CONFIG,
    ExitCode.DATA,
    ExitCode.STORAGE,
    ExitCode.PROGRAM,
    ExitCode.STALLED,
    ExitCode.PREEMPTED,
    ExitCode.PEER_LOST,
)
#: Workers notice the loss of one by themselves; who has not after this long is killed.
_PATIENCE_S = 30.0


def run_workers(words: Sequence[str], workers: int) -> int:
    """Starts the workers, waits for all, and ends with the worst of their codes.

    Args:
        words: The trainer's command line, without --workers.
        workers: How many.

    Returns:
        0 where all ended well. A worker that a signal killed counts as a lost peer.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    secret = secrets.token_hex(32)
    started = [_start(words, index, workers, port, secret) for index in range(workers)]

    def forward(number: int, _frame: object) -> None:
        for process in started:
            if process.poll() is None:
                process.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, forward)
    readers = [_prefixed(process.stderr, index) for index, process in enumerate(started) if process.stderr]
    codes = _wait(started)
    for reader in readers:
        reader.join(5)
    return worst(codes)


def worst(codes: Sequence[int]) -> int:
    """The code of a run from its workers' codes; negative ones are signals."""
    for code in _WORST:
        if code in codes:
            return int(code)
    if 130 in codes:
        return 130
    return int(ExitCode.PEER_LOST) if any(codes) else 0


def _start(words: Sequence[str], index: int, workers: int, port: int, secret: str) -> subprocess.Popen[str]:
    environ = {
        **os.environ,
        "KFIT_NODES": str(workers),
        "JOB_COMPLETION_INDEX": str(index),
        "KFIT_MEETING_PORT": str(port),
        "KFIT_WORKERS_SECRET": secret,
    }
    if index:
        environ.pop("KFIT_EVENTS", None)  # the chief's are the run's
    return subprocess.Popen(
        [sys.executable, "-m", "trainer", *words],
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL if index else None,
        stderr=subprocess.PIPE if index else None,
        text=True,
        start_new_session=True,  # Ctrl-C comes once, from here
    )


def _prefixed(stream: IO[str], index: int) -> threading.Thread:
    def copy() -> None:
        for line in stream:
            terminal.echo(f"worker {index}: {line}", err=True, nl=False)

    thread = threading.Thread(target=copy, name=f"kfit-worker-{index}", daemon=True)
    thread.start()
    return thread


def _wait(started: Sequence[subprocess.Popen[str]]) -> list[int]:
    failed_s: float | None = None
    while any(process.poll() is None for process in started):
        if failed_s is None and any(process.poll() for process in started):
            failed_s = time.monotonic()
        if failed_s is not None and time.monotonic() - failed_s > _PATIENCE_S:
            for process in started:
                if process.poll() is None:
                    process.kill()
        time.sleep(0.1)
    return [int(process.returncode) for process in started]

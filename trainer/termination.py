"""The end of a process: its message where Kubernetes keeps it beside the exit code, and the exit itself.

The message outlives the pod's log and needs no storage, so `kfit why` can tell what ended a run that never wrote
its `result.json`.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

#: Where Kubernetes reads by default; it keeps 4,096 bytes.
_DEFAULT = "/dev/termination-log"
_MOST_BYTES = 4000


def write(exit_code: int, reason: str) -> None:
    """Writes `{"exit_code", "reason", "run"}` for Kubernetes; does nothing outside a container.

    Args:
        exit_code: The code that the process is about to end with.
        reason: What a person reads; shortened to what Kubernetes keeps.
    """
    path = Path(os.environ.get("KFIT_TERMINATION_LOG", _DEFAULT))
    if not path.exists():
        return
    document = {"exit_code": int(exit_code), "run": os.environ.get("KFIT_RUN"), "reason": reason}
    while len(data := json.dumps(document, ensure_ascii=False).encode()) > _MOST_BYTES:
        document["reason"] = reason = reason[: len(reason) * 3 // 4]
    try:
        path.write_bytes(data)
    except OSError:
        return  # read-only: the exit code must do


def leave(code: int) -> NoReturn:
    """Ends the process now.

    A Python interpreter that ends while a tf.data thread waits for the interpreter lock hangs for ever
    and holds its GPU (seen with TensorFlow 2.21). So flush, then go without the interpreter's own end.

    Args:
        code: The process's exit code.
    """
    _remove_generated_code()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue
    os._exit(code)


def _remove_generated_code() -> None:
    """Deletes the modules that TensorFlow's AutoGraph wrote into the temporary folder; it leaves that to `atexit`."""
    for name, module in list(sys.modules.items()):
        if name.startswith("__autograph_generated_file"):
            for path in (getattr(module, "__file__", None), getattr(module, "__cached__", None)):
                with contextlib.suppress(OSError):
                    if path:
                        Path(path).unlink()


def within(seconds: float, work: Callable[[], None]) -> Exception | None:
    """Runs work in a thread, and waits for it.

    Args:
        seconds: How long to wait; the thread may go on afterwards.
        work: What to do.

    Returns:
        None where the work was done, else the error that prevented it: its own, or a TimeoutError.
    """
    failed: list[Exception] = []

    def attempt() -> None:
        try:
            work()
        except Exception as error:  # for the caller, who may have a better one to tell
            failed.append(error)

    thread = threading.Thread(target=attempt, name="kfit-last-words", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        return TimeoutError(f"storage did not answer within {seconds:.0f} s")
    return failed[0] if failed else None

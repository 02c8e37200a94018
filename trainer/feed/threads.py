"""Daemon threads that are also joined, and a bounded queue between them.

The threads of `concurrent.futures` are not daemons: one stuck request would keep the process alive.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

T = TypeVar("T")

#: Niceness of the feed's threads above those that train. On a machine whose cores are all busy, training from
#: the stream went from 0.977 to 0.988 of training from memory (19 gave 0.992, but could starve).
_NICE = 5


def yield_to_training() -> None:
    """Lowers the calling thread's priority below that of the threads that train; batches are still ready in time."""
    with contextlib.suppress(OSError, AttributeError):  # Linux has a priority for each thread, others do not
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


class Pool:
    """A few threads that run tasks, oldest first.

    Args:
        threads: How many.
        name: Prefix of their names.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._tasks: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._work, name=f"{name}-{n}", daemon=True) for n in range(threads)]
        for thread in self._threads:
            thread.start()

    def submit(self, task: Callable[[], T]) -> Future[T]:
        """Queues a task."""
        future: Future[T] = Future()
        self._tasks.put((future, task))
        return future

    def close(self, timeout_s: float = 5.0) -> None:
        """Drops queued tasks and waits for running ones. A second call does nothing."""
        while True:
            try:
                dropped = self._tasks.get_nowait()
            except queue.Empty:
                break
            if dropped is not None:
                dropped[0].cancel()
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join(timeout_s)
        self._threads = []

    def _work(self) -> None:
        yield_to_training()
        while (item := self._tasks.get()) is not None:
            future, task = item
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(task())
            except BaseException as error:
                future.set_exception(error)
            del item, future, task


class BoundedQueue(Generic[T]):
    """A bounded queue that ends at once, by `close` or by an error, whatever is still queued.

    Args:
        capacity: Most items in the queue.
    """

    def __init__(self, capacity: int) -> None:
        self._items: deque[T] = deque()
        self._capacity = capacity
        self._changed = threading.Condition()
        self._closed = False
        self._error: BaseException | None = None

    def put(self, item: T) -> bool:
        """Waits for room and appends the item; returns False once closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._items) < self._capacity)
            if self._closed:
                return False
            self._items.append(item)
            self._changed.notify_all()
            return True

    def get(self) -> T | None:
        """Waits for an item; returns None once closed, raises what `fail` was given."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._error is not None or bool(self._items))
            if self._error is not None:
                raise self._error
            if self._closed:
                return None
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def fail(self, error: BaseException) -> None:
        """Makes every later `get` raise."""
        with self._changed:
            self._error = error
            self._changed.notify_all()

    def close(self) -> None:
        """Drops queued items and wakes all waiting threads."""
        with self._changed:
            self._closed = True
            self._items.clear()
            self._changed.notify_all()

"""Packed rows as a few plain arrays, one for each kind of value, in memory that is reused.

A batch is a slice of each array, and nothing is split or copied in the graph.
"""

from __future__ import annotations

import contextlib
import functools
import math
import mmap
import queue
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from trainer.schema import Layout

#: TensorFlow takes over arrays with this alignment without a copy.
_ALIGNMENT_BYTES = 64
_HUGE_PAGE_BYTES = 2 * 1024**2
#: Windows differ a little in size; memory that just fits one would soon be too small.
SPARE_SHARE = 16
#: How long to wait for memory that is on its way back.
_PATIENCE_S = 0.25


@dataclass(frozen=True)
class Rows:
    """R packed rows.

    Attributes:
        numbers: float32 [R, N]: null is NaN.
        codes: int32 [R, C].
        label: float32 [R]; int32 for multiclass; float32 [R, W] for multilabel and for several labels.
        weight: float32 [R, 2]: the row's weight, and the fill of its batch.
        encoded: objects (bytes) [R, I + S]: images as they are stored, then the int32 codes of each ragged sequence.
    """

    numbers: np.ndarray
    codes: np.ndarray
    label: np.ndarray
    weight: np.ndarray
    encoded: np.ndarray

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, part: slice) -> Rows:
        return Rows(*(values[part] for values in self.arrays))

    def take(self, order: np.ndarray, out: Rows) -> None:
        """Writes rows in an order: the shuffle.

        Args:
            order: int64 [K]: which rows.
            out: K rows.
        """
        for source, target in zip(self.arrays, out.arrays, strict=True):
            if target.size:
                # mode="clip" writes straight into `out`; the default goes through a buffer. The indices are ours.
                np.take(source, order, axis=0, out=target, mode="clip")

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """All arrays, in the order of the attributes."""
        return self.numbers, self.codes, self.label, self.weight, self.encoded


def row_bytes(layout: Layout) -> int:
    """Returns the bytes of a packed row: numbers, codes, label, weight and fill, four bytes each."""
    return 4 * (layout.numbers_width + layout.codes_width + 2 + math.prod(layout.label_shape))


def views_over(layout: Layout, memory: np.ndarray, rows: int) -> Rows:
    """Lays rows out in a block of memory.

    Args:
        layout: What a row holds.
        memory: uint8, at least `room_for(layout, rows)`.
        rows: How many.

    Returns:
        Rows with undefined content, each array aligned for TensorFlow.
    """
    parts = _parts(layout, rows)
    at = -memory.ctypes.data % _ALIGNMENT_BYTES
    arrays: list[np.ndarray] = []
    for shape, dtype in parts:
        size = int(np.prod(shape)) * 4
        arrays.append(memory[at : at + size].view(dtype).reshape(shape))
        at += _aligned(size)
    arrays.append(np.empty((rows, len(layout.images) + len(layout.ragged)), object))
    return Rows(*arrays)


def room_for(layout: Layout, rows: int) -> int:
    """Returns the bytes that so many rows need."""
    return _ALIGNMENT_BYTES + sum(_aligned(int(np.prod(shape)) * 4) for shape, _ in _parts(layout, rows))


def _parts(layout: Layout, rows: int) -> list[tuple[tuple[int, ...], type]]:
    label = np.int32 if layout.label_is_code else np.float32
    return [
        ((rows, layout.numbers_width), np.float32),
        ((rows, layout.codes_width), np.int32),
        ((rows, *layout.label_shape), label),
        ((rows, 2), np.float32),
    ]


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES


def allocate(size_bytes: int) -> np.ndarray:
    """Returns fresh memory, uint8 [at least size_bytes], in huge pages if it is large: gathering is a third faster."""
    if size_bytes < 2 * _HUGE_PAGE_BYTES:
        return np.empty(size_bytes, np.uint8)
    memory = mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(memory, np.uint8)


def lend(memory: np.ndarray, on_return: Callable[[], object]) -> np.ndarray:
    """Returns an array over the memory, and calls `on_return` once it and every array cut from it are gone.

    numpy lets a view refer to the array that it was cut from, through any number of views, where that array's own base
    is no array: here a memoryview.
    """
    lent = np.frombuffer(memory.data, np.uint8)
    weakref.finalize(lent, on_return).atexit = False
    return lent


@functools.cache
def reports_return() -> bool:
    """Whether this interpreter and numpy report the return of memory when the last view goes, and not before."""
    returned: list[bool] = []
    lent = lend(np.zeros(4 * _ALIGNMENT_BYTES, np.uint8), lambda: returned.append(True))
    view = lent[_ALIGNMENT_BYTES:].view(np.float32).reshape(3, -1)
    del lent
    view = view[1:, :4]
    too_early = bool(returned)
    del view
    return bool(returned) and not too_early


class BufferPool:
    """Hands out memory, and hands it out again once nobody, TensorFlow included, refers to it.

    Fresh pages cost more than what is written into them: packing 86 MB took 0.30 s, and 0.05 s again. Where
    `reports_return` is false, all memory is fresh.

    Args:
        layout: What a row holds.
        rows: The usual request; no less memory is ever made at once.
        most: How many buffers should be enough. TensorFlow drops arrays late and several at a time, so where all are
            in use, `take` waits a while for one to return before it makes one more.
    """

    def __init__(self, layout: Layout, rows: int = 0, most: int = 1_000_000) -> None:
        self._layout, self._least, self._most = layout, room_for(layout, rows), most
        self._lock = threading.Lock()
        self._made = 0
        self._unused: list[np.ndarray] = []
        # Finalizers run in any thread at any moment, and a SimpleQueue's put is the one that may interrupt itself.
        self._returned: queue.SimpleQueue[np.ndarray] = queue.SimpleQueue()

    def take(self, rows: int) -> Rows:
        """Returns rows with undefined content; dropping every array of theirs gives the memory back."""
        size = room_for(self._layout, rows)
        if not reports_return():
            return views_over(self._layout, allocate(size), rows)
        with self._lock:
            memory = self._next(size)
        return views_over(self._layout, lend(memory, functools.partial(self._returned.put, memory)), rows)

    def _next(self, size: int) -> np.ndarray:
        until_s = time.monotonic() + _PATIENCE_S
        while True:
            while not self._returned.empty():
                self._unused.append(self._returned.get())
            while self._unused:
                # The last returned is the likeliest to be in the cache. Memory that is too small is dropped.
                if len(memory := self._unused.pop()) >= size:
                    return memory
                self._made -= 1
            if self._made < self._most or (left_s := until_s - time.monotonic()) <= 0:
                self._made += 1
                needed = max(size, self._least)
                return allocate(needed + needed // SPARE_SHARE)
            with contextlib.suppress(queue.Empty):
                self._unused.append(self._returned.get(timeout=left_s))

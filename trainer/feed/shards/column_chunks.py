"""Reads the metadata of column chunks such that a damaged footer is an error of one shard, not the end of the process.

Arrow's bindings do not catch what its C++ throws while it builds `ColumnChunkMetaData` and its statistics: the process
aborts (SIGABRT), and nobody learns which file it was. `check_chunks` goes through a reader that does raise. For
statistics there is no such way, so `find_fatal_statistics` asks a process of its own, which may die.
"""

from __future__ import annotations

import logging
import mmap
import os
import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

_log = logging.getLogger(__name__)

#: How a process ends that Arrow has aborted or led astray; others (SIGKILL) say nothing about the footer.
_FATAL_SIGNALS = {getattr(signal, name) for name in ("SIGABRT", "SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL")}


def leaf_indices(metadata: Any) -> dict[str, tuple[int, ...]]:
    """Returns the indices of the column chunks that each path, and each top-level column, stands for.

    Args:
        metadata: `pyarrow.parquet.FileMetaData`.
    """
    schema = metadata.schema
    out: dict[str, list[int]] = {}
    for index in range(metadata.num_columns):
        path = schema.column(index).path
        for name in {path, path.partition(".")[0]}:
            out.setdefault(name, []).append(index)
    return {name: tuple(indices) for name, indices in out.items()}


def check_chunks(metadata: Any, size_bytes: int, indices: Sequence[int]) -> None:
    """Raises where the metadata of a column chunk is damaged; afterwards `column(i)` is safe for these columns.

    No page is read: the reader is given an empty mapping of the file's size, and is asked for no rows.

    Args:
        metadata: `pyarrow.parquet.FileMetaData`.
        size_bytes: Size of the file.
        indices: The columns.

    Raises:
        pa.ArrowException, OSError: What is damaged.
    """
    if not indices or not metadata.num_row_groups:
        return
    empty = mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=mmap.PROT_READ)
    # `pre_buffer` computes the ranges of all chunks before the first is read.
    file = pq.ParquetFile(pa.BufferReader(pa.py_buffer(empty)), metadata=metadata, pre_buffer=True)
    groups = range(metadata.num_row_groups)
    for _ in file.reader.iter_batches(0, row_groups=groups, column_indices=list(indices), use_threads=False):
        raise AssertionError("a batch of no rows")


def statistics_of(metadata: Any, group: int, index: int) -> Any:
    """Returns a column chunk's `pyarrow.parquet.Statistics`; None where the footer has none that can be used."""
    chunk = metadata.row_group(group).column(index)
    if chunk.physical_type != metadata.schema.column(index).physical_type:
        return None  # Arrow aborts here; that the pages cannot be decoded is said when they are read
    return chunk.statistics


def find_fatal_statistics(footers: Sequence[tuple[Any, Sequence[int]]]) -> Iterator[tuple[int, str]]:
    """Finds footers whose statistics make Arrow abort, by reading them in a process of its own.

    Args:
        footers: `FileMetaData` and the columns whose statistics are about to be read, of each file.

    Yields:
        Position of a footer, and what Arrow said. Nothing where no process can be started.
    """
    first = 0
    while first < len(footers):
        with tempfile.TemporaryFile(prefix="kfit-") as file:
            for footer in footers[first:]:
                pickle.dump(footer, file)
            file.seek(0)
            try:
                answer = subprocess.run([sys.executable, "-P", __file__], stdin=file, capture_output=True, check=False)
            except OSError as error:
                _log.warning("statistics of footers are read unchecked: %s", error)
                return
        if -answer.returncode not in _FATAL_SIGNALS:
            return
        first += len(answer.stdout)
        messages = [
            line.partition("what():")[2].strip() for line in answer.stderr.decode(errors="replace").splitlines()
        ]
        yield first, next((text for text in messages if text), "Arrow aborts when it reads them")
        first += 1


def _footers(file: Any) -> Iterator[tuple[Any, Sequence[int]]]:
    while True:
        try:
            yield pickle.load(file)
        except EOFError:
            return


def _main() -> None:
    """Writes a byte for each footer from stdin whose statistics could be read."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for metadata, indices in _footers(sys.stdin.buffer):
        for group in range(metadata.num_row_groups):
            for index in indices:
                known = statistics_of(metadata, group, index)
                if known is not None and known.has_min_max:
                    _ = known.min, known.max
        os.write(1, b".")


if __name__ == "__main__":
    _main()

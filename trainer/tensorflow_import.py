"""Keeps TensorFlow's start from drowning what a person has to read.

While TensorFlow is imported it writes a dozen lines to stderr before its own log level counts. They are
held back for those seconds, lines known to be noise are dropped, and every other line is passed on.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

_NOISE = re.compile(
    rb"All log messages before absl::InitializeLog"
    rb"|cudart_stub\.cc|cuda_platform\.cc|cuda_diagnostics\.cc|cuda_dnn\.cc|cuda_fft\.cc|cuda_blas\.cc"
    rb"|oneDNN custom operations are on|cpu_feature_guard\.cc|To enable the following instructions"
    rb"|computation_placer\.cc|TF-TRT Warning|port\.cc"
)


def import_tensorflow() -> None:
    """Imports TensorFlow and Keras and finds the devices; errors are printed as ever."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    with _without_noise():
        import keras  # noqa: F401
        import tensorflow as tf

        tf.config.list_physical_devices()


class _HeldStderr:
    """File descriptor 2, held back in a temporary file.

    Attributes:
        current: The one that is held now; None: stderr is as ever.
    """

    current: _HeldStderr | None = None

    def __init__(self) -> None:
        self._saved = os.dup(2)
        self._held = tempfile.TemporaryFile()  # noqa: SIM115 - it closes in `release`
        os.dup2(self._held.fileno(), 2)
        _HeldStderr.current = self

    def release(self) -> None:
        """Gives stderr back and writes what was held, without noise."""
        _HeldStderr.current = None
        os.dup2(self._saved, 2)
        os.close(self._saved)
        with self._held as buffered:
            buffered.seek(0)
            os.write(2, b"".join(line for line in buffered if not _NOISE.search(line)))


def release_stderr() -> None:
    """Gives stderr back during `import_tensorflow`, for a thread that is about to end the process."""
    if (buffered := _HeldStderr.current) is not None:
        buffered.release()


@contextmanager
def _without_noise() -> Iterator[None]:
    sys.stderr.flush()
    try:
        _HeldStderr()
    except OSError:  # no stderr at all
        yield
        return
    try:
        yield
    finally:
        sys.stderr.flush()
        release_stderr()

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


@contextmanager
def _without_noise() -> Iterator[None]:
    try:
        saved = os.dup(2)
    except OSError:  # no stderr at all
        yield
        return
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
            held.seek(0)
            kept = [line for line in held if not _NOISE.search(line)]
            os.write(2, b"".join(kept))

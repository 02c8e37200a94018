"""Where TensorBoard's files are written while a run trains, and how they reach the run's folder."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trainer import storage, termination
from trainer.checkpoint.run_folder import RunFolder
from trainer.run.record import CURVES_S


@contextmanager
def tensorboard_folder(folder: RunFolder, *, enabled: bool) -> Iterator[str | None]:
    """Gives a local folder, uploaded at the end where the run's own folder is not local; of a failed run in short time.

    Args:
        folder: The run's folder.
        enabled: Whether files are written at all; None is given where not.
    """
    target = folder.path("tensorboard")
    if not enabled:
        yield None
    elif (local := storage.local_path(target)) is not None:
        yield str(local)
    else:
        with tempfile.TemporaryDirectory(prefix="kfit-tensorboard-") as scratch:
            try:
                yield scratch
            except BaseException:
                termination.within(CURVES_S, lambda: storage.upload_folder(Path(scratch), target))
                raise
            storage.upload_folder(Path(scratch), target)

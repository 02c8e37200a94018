"""Where files are written beside a run's own while it trains, and how they reach its folder: curves, callbacks."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from trainer import storage, termination
from trainer.checkpoint.run_folder import RunFolder
from trainer.errors import StorageError
from trainer.run.record import CURVES_S


@contextmanager
def tensorboard_folder(folder: RunFolder, *, enabled: bool) -> Iterator[tuple[str | None, Callable[[], None]]]:
    """Gives a local folder for TensorBoard's files, uploaded at the end; of a failed run in short time.

    Args:
        folder: The run's folder.
        enabled: Whether files are to be written at all.

    Yields:
        The folder, None where none are written; and a function that uploads what has changed, where storage lets it.
    """
    if not enabled:
        yield None, lambda: None
        return
    with _uploaded(folder.path("tensorboard"), lambda: None) as (local, upload):

        def try_to_upload() -> None:
            with contextlib.suppress(StorageError):  # curves end no training; the end of the run uploads them again
                upload()

        yield local, try_to_upload


@contextmanager
def callbacks_folder(
    folder: RunFolder, worker: int, check: Callable[[], None], *, enabled: bool
) -> Iterator[tuple[str, Callable[[], None]]]:
    """Gives a local folder for the files of own callbacks, with what they held before a restart.

    Args:
        folder: The run's folder.
        worker: Which worker this is: the first one's files lie in `callbacks/`, another's in `callbacks/worker-N/`.
        check: Raises where this process may not write into the run any more.
        enabled: Whether there are callbacks at all.

    Yields:
        The folder, and a function that uploads what has changed.
    """
    if not enabled:
        yield "", lambda: None
        return
    parts = ("callbacks", f"worker-{worker}") if worker else ("callbacks",)
    with _uploaded(folder.path(*parts), check, again=True) as uploaded:
        yield uploaded


@contextmanager
def _uploaded(
    target: str, check: Callable[[], None], *, again: bool = False
) -> Iterator[tuple[str, Callable[[], None]]]:
    """A local folder, and what uploads it; the target itself where that is local.

    Args:
        target: The folder in storage.
        check: Called before an upload.
        again: Whether to begin with what is there.
    """
    if (local := storage.local_path(target)) is not None:
        if again:
            local.mkdir(parents=True, exist_ok=True)
        yield str(local), lambda: None
        return
    with tempfile.TemporaryDirectory(prefix="kfit-files-") as scratch:
        known: dict[Path, tuple[int, int]] = {}
        if again:
            storage.download_folder(target, Path(scratch))
            known.update(_stamps(Path(scratch)))

        def upload() -> None:
            check()
            stamps = _stamps(Path(scratch))
            for file, stamp in stamps.items():
                if known.get(file) != stamp:
                    storage.write_file(storage.join(target, file.relative_to(scratch).as_posix()), file)
                    known[file] = stamp

        try:
            yield scratch, upload
        except BaseException:
            termination.within(CURVES_S, upload)
            raise
        upload()


def _stamps(folder: Path) -> dict[Path, tuple[int, int]]:
    """Modification time and size of each file below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {file: (stat.st_mtime_ns, stat.st_size) for file in files for stat in [file.stat()]}

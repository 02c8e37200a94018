"""TensorBoard's event files of runs in one local folder, kept up to date while TensorBoard reads it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from k8s.actions.run_place import RunPlace
from trainer import storage
from trainer.errors import StorageError
from trainer.uris import local_path


class EventFiles:
    """A folder with a folder for each run: a link to one on this machine, a copy of one in object storage.

    Args:
        places: The runs.
        folder: An empty local folder.
    """

    def __init__(self, places: Sequence[RunPlace], folder: Path) -> None:
        self._remote: dict[str, Path] = {}
        for place in places:
            uri, here = storage.join(place.uri, "tensorboard"), folder / place.run
            if (own := local_path(uri)) is not None:
                here.symlink_to(own.absolute(), target_is_directory=True)
            else:
                self._remote[uri] = here
        self._stopped = threading.Event()

    def fetch(self) -> None:
        """Copies what storage has more of than the folder.

        Raises:
            StorageError: Storage is out of reach or refuses.
        """
        for uri, here in self._remote.items():
            for stored in storage.list_objects(uri, missing_ok=True):
                copy = here / stored.name
                known = copy.stat().st_size if copy.is_file() else -1
                if known != stored.size_bytes:
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    _extend(copy, storage.read(stored.uri), max(known, 0))

    def keep_fetching(self, every_s: float) -> threading.Thread:
        """Fetches from time to time until `stop`, in a thread; what fails once is fetched the next time."""

        def fetch() -> None:
            while not self._stopped.wait(every_s):
                try:
                    self.fetch()
                except StorageError:
                    continue

        thread = threading.Thread(target=fetch, name="kfit-event-files", daemon=True)
        if self._remote:
            thread.start()
        return thread

    def stop(self) -> None:
        """Ends `keep_fetching`."""
        self._stopped.set()


def _extend(copy: Path, data: bytes, known: int) -> None:
    """Event files only grow, and TensorBoard reads on where it stopped: so what is there stays in its place."""
    if known < len(data):
        with copy.open("ab") as file:
            file.write(data[known:])
    else:
        copy.write_bytes(data)

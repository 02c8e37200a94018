"""Checkpoints in storage: content-addressed objects, and a manifest that commits them.

A checkpoint exists when its MANIFEST.json does, and counts when every object it names has the size and
SHA-256 it gives. Nothing is renamed and nothing committed is overwritten, so a reader sees a whole
checkpoint or none, on object stores as on disks. Objects are named by their hash: what did not change
since the last checkpoint (the best weights, mostly) is not written again.

    checkpoints/objects/<sha256>
    checkpoints/step-00001200/MANIFEST.json     written last, create-only
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from trainer import storage
from trainer.errors import StorageError
from trainer.run.folder import RunFolder, to_json

FORMAT = 1
_STEP = re.compile(r"step-(\d{8,})/MANIFEST\.json")

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Snapshot:
    """The whole state of a run between two steps, in host memory.

    Attributes:
        step: Optimizer steps done since the run began.
        groups: Arrays by group (`weights`, `optimizer`, `metrics`, `best`), each by variable name.
        state: What is not an array: cursor, callbacks, history; plain JSON.
    """

    step: int
    groups: Mapping[str, Arrays]
    state: Mapping[str, Any] = field(default_factory=dict)


def pack(arrays: Arrays) -> bytes:
    """Arrays as one .npz; the same arrays give the same bytes."""
    buffer = io.BytesIO()
    np.savez(buffer, **{f"{i:06d}|{name}": array for i, (name, array) in enumerate(arrays.items())})  # type: ignore[arg-type]
    return buffer.getvalue()


def unpack(data: bytes) -> dict[str, np.ndarray]:
    """The inverse of `pack`, in the same order."""
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        return {name.partition("|")[2]: archive[name] for name in sorted(archive.files)}


class CheckpointStore:
    """Writes and reads the checkpoints of one run.

    Args:
        folder: The run's folder.
        keep: Newest checkpoints kept.
        note: Told one line for a person when something is unusual.
    """

    def __init__(self, folder: RunFolder, *, keep: int, note: Callable[[str], None]) -> None:
        self._root = folder.path("checkpoints")
        self._keep = keep
        self._note = note
        self._known: set[str] = set()

    def commit(self, snapshot: Snapshot) -> None:
        """Writes a snapshot's objects, then its manifest, then prunes.

        A manifest of the same step that is already there is the same checkpoint, committed before a kill.

        Raises:
            StorageError: The store is out of reach or refuses.
        """
        objects = {name: self._put(pack(arrays)) for name, arrays in snapshot.groups.items()}
        manifest = {"format": FORMAT, "step": snapshot.step, "objects": objects, "state": dict(snapshot.state)}
        uri = storage.join(self._root, f"step-{snapshot.step:08d}", "MANIFEST.json")
        try:
            storage.write(uri, to_json(manifest), create_only=True)
        except storage.AlreadyExists:
            return
        self._prune()

    def _put(self, data: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        if digest not in self._known:
            uri = storage.join(self._root, "objects", digest)
            try:
                storage.write(uri, data, create_only=True)
            except storage.AlreadyExists:
                if hashlib.sha256(storage.read(uri)).hexdigest() != digest:
                    storage.write(uri, data)
            self._known.add(digest)
        return {"sha256": digest, "size_bytes": len(data)}

    def newest(self) -> Snapshot | None:
        """The newest checkpoint whose every object is whole; older ones where newer are damaged."""
        for step, uri in self._manifests():
            try:
                return self._read(uri)
            except (storage.NotFound, ValueError, KeyError) as damaged:
                self._note(f"checkpoint of step {step} is damaged ({damaged}); trying the one before")
        return None

    def _manifests(self) -> list[tuple[int, str]]:
        try:
            listed = storage.list_objects(self._root)
        except storage.NotFound:
            return []
        steps = [(int(m[1]), o.uri) for o in listed if (m := _STEP.fullmatch(o.name))]
        return sorted(steps, reverse=True)

    def _read(self, uri: str) -> Snapshot:
        manifest = json.loads(storage.read(uri))
        if manifest["format"] != FORMAT:
            raise ValueError(f"format {manifest['format']}, this version reads {FORMAT}")
        groups = {}
        for name, entry in manifest["objects"].items():
            data = storage.read(storage.join(self._root, "objects", entry["sha256"]))
            if len(data) != entry["size_bytes"] or hashlib.sha256(data).hexdigest() != entry["sha256"]:
                raise ValueError(f"object {name} does not have the hash its manifest gives")
            groups[name] = unpack(data)
            self._known.add(entry["sha256"])
        return Snapshot(int(manifest["step"]), groups, manifest["state"])

    def _prune(self) -> None:
        """Deletes old steps, manifest first, then objects that no manifest names."""
        manifests = self._manifests()
        for _, uri in manifests[self._keep :]:
            storage.delete(uri)
            storage.delete(uri.rpartition("/")[0])
        named = set()
        for _, uri in manifests[: self._keep]:
            named |= {o["sha256"] for o in json.loads(storage.read(uri))["objects"].values()}
        for stored in storage.list_objects(storage.join(self._root, "objects")):
            if stored.name not in named and not stored.name.startswith("."):
                storage.delete(stored.uri)
                self._known.discard(stored.name)


class AsyncWriter:
    """Commits snapshots in a thread, one at a time; only the copy that made the snapshot blocks a step.

    A commit that fails does not end the run: the run says so and tries with the next snapshot.
    `wait` raises the last failure, because then nothing newer will make up for it.
    """

    def __init__(self, store: CheckpointStore, note: Callable[[str], None]) -> None:
        self._store = store
        self._note = note
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None
        self.upload_s = 0.0

    @property
    def busy(self) -> bool:
        """Whether a commit is under way."""
        return self._thread is not None and self._thread.is_alive()

    def submit(self, snapshot: Snapshot) -> None:
        """Starts a commit; waits for the one under way first."""
        self.join()
        self._thread = threading.Thread(target=self._commit, args=(snapshot,), name="kfit-checkpoint", daemon=True)
        self._thread.start()

    def _commit(self, snapshot: Snapshot) -> None:
        began = time.monotonic()
        try:
            self._store.commit(snapshot)
            self._error = None
        except StorageError as error:
            self._error = error
            self._note(f"checkpoint of step {snapshot.step} was not committed: {error.what}")
        except Exception as error:  # a fault of ours: it must reach the main thread
            self._error = error
        finally:
            self.upload_s += time.monotonic() - began

    def join(self) -> None:
        """Waits for the commit under way, whatever comes of it."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def wait(self) -> None:
        """Waits for the commit under way.

        Raises:
            StorageError: It failed.
        """
        self.join()
        if self._error is not None:
            raise self._error

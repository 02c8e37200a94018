"""Checkpoints in storage: content-addressed objects, and a manifest that commits them.

A checkpoint exists when its MANIFEST.json does and the newest claim of the run allows its token (see
`trainer.checkpoint.fencing`); it counts when every object it names has the size and SHA-256 it gives. Nothing is
renamed and nothing committed is overwritten, so a reader sees a whole checkpoint or none, on object
stores as on disks. Objects are named by their hash: what did not change since the process's last checkpoint
(the best weights, mostly) is not written again.

    checkpoints/claims/00000002.json                which process may commit: token 2
    checkpoints/objects/00000002/<sha256>           a part of a group of arrays, written by that process
    checkpoints/step-00001200.2/MANIFEST.json       written last, create-only; the token is part of the name

Two states of the same step (before and after the validation that follows it) are `step-00001200.2` and
`step-00001200.2.1`. Every path carries the token of the process that wrote it, and a process deletes only paths of
its own token or of older ones: one that was paused and goes on after another has taken over can destroy nothing of
its successor's. Earlier versions wrote `objects/<sha256>` and `step-00001200`; those are read as well.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import re
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from trainer import storage
from trainer.checkpoint.fencing import NOBODY, Claim, Fence, Stamp, Superseded
from trainer.checkpoint.run_folder import RunFolder, to_json
from trainer.checkpoint.serialization import Arrays, assemble, parts, table

FORMAT = 3
#: Format 2 had no token in its paths.
_READABLE = (2, FORMAT)
#: Parts under way at a time, each way.
TRANSFERS = 4
_FOLDER = re.compile(r"(step-\d{8,}(?:\.\d+)*)/MANIFEST\.json")
_DIGEST = re.compile(r"[0-9a-f]{64}")

Manifest = Mapping[str, Any]


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

    @property
    def size_bytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for arrays in self.groups.values() for array in arrays.values())


class CheckpointStore:
    """Writes and reads the checkpoints of one run.

    Args:
        folder: The run's folder.
        keep: Newest checkpoints kept.
        note: Told one line for a person when something is unusual.
    """

    def __init__(self, folder: RunFolder, *, keep: int, note: Callable[[str], None]) -> None:
        self.fence = Fence(folder)
        self._run_uri = folder.uri
        self._root = folder.path("checkpoints")
        self._keep = keep
        self._note = note
        #: Digests of the objects that this process has written.
        self._written: set[str] = set()
        self._manifests: dict[str, Manifest] = {}
        self._seen: set[str] = set()
        self._lock = threading.Lock()

    # --- reading ---------------------------------------------------------------------------------

    def newest(self) -> Snapshot | None:
        """Reads the newest checkpoint whose every object is whole; an older one where newer ones are damaged.

        Returns:
            The snapshot, or None where there is no checkpoint.

        Raises:
            StorageError: The store is out of reach or refuses.
        """
        claim = self.fence.newest()
        folders = self._folders()
        self._seen.update(folders)
        for name in reversed(folders):
            try:
                manifest = self._manifest(name)
                if claim.allows(_stamp(name, manifest)):
                    return self._read(manifest)
            except (storage.NotFound, ValueError, KeyError, TypeError) as damaged:
                self._note(f"checkpoint {name} is damaged ({damaged}); trying the one before")
        return None

    def take_over(self, resumed: Snapshot | None) -> bool:
        """Claims the run for this process, which goes on from `resumed`; later checkpoints are void from now on.

        A predecessor that is still alive may have committed since `newest` was read, and then have deleted the
        checkpoint that this process goes on from. Its commit counts: the claim accepts it.

        Args:
            resumed: What `newest` returned.

        Returns:
            Whether `resumed` is the newest checkpoint. Otherwise call `newest` and `take_over` again; nobody
            else can commit by then.

        Raises:
            StorageError: The store is out of reach or refuses.
        """
        last = resumed.step if resumed else -1
        predecessor = NOBODY

        def accept(claim: Claim) -> list[Stamp]:
            nonlocal predecessor
            predecessor = claim
            return [stamp for stamp in self._allowed_by(claim) if _order(stamp[0])[0] <= last]

        self.fence.take(accept)
        late = [stamp for stamp in self._allowed_by(predecessor) if stamp[0] not in self._seen]
        if late:
            self.fence.take(lambda claim: [*self._allowed_by(claim), *late])
            return False
        storage.sweep(self._run_uri)
        return True

    def _allowed_by(self, claim: Claim) -> list[Stamp]:
        """Checkpoints whose manifest is readable and counts under a claim, the oldest first."""
        stamps = []
        for name in self._folders():
            with contextlib.suppress(storage.NotFound, ValueError, KeyError, TypeError):
                stamp = _stamp(name, self._manifest(name))
                if claim.allows(stamp):
                    stamps.append(stamp)
        return stamps

    def _folders(self) -> list[str]:
        """Folders that hold a manifest, the oldest first."""
        listed = storage.list_objects(self._root, missing_ok=True)
        return sorted((m[1] for o in listed if (m := _FOLDER.fullmatch(o.name))), key=_order)

    def _manifest(self, name: str) -> Manifest:
        if name not in self._manifests:
            manifest = json.loads(storage.read(self._manifest_uri(name)))
            if manifest["format"] not in _READABLE:
                raise ValueError(f"format {manifest['format']}, this version reads {FORMAT}")
            self._manifests[name] = manifest
        return self._manifests[name]

    def _read(self, manifest: Manifest) -> Snapshot:
        groups = {}
        for group, entry in manifest["groups"].items():
            data = np.empty(sum(part["size_bytes"] for part in entry["parts"]), np.uint8)
            ends = itertools.accumulate((part["size_bytes"] for part in entry["parts"]), initial=0)
            with ThreadPoolExecutor(TRANSFERS) as pool:
                list(pool.map(lambda part, at, to=data: self._fetch(part, to, at), entry["parts"], ends))
            groups[group] = assemble(entry["arrays"], data)
        return Snapshot(int(manifest["step"]), groups, manifest["state"])

    def _fetch(self, part: Mapping[str, Any], target: np.ndarray, at: int) -> None:
        data = storage.read(storage.join(self._root, "objects", _object_name(part)))
        if len(data) != part["size_bytes"] or hashlib.sha256(data).hexdigest() != part["sha256"]:
            raise ValueError(f"object {part['sha256'][:12]} does not have the size and hash its manifest gives")
        target[at : at + len(data)] = np.frombuffer(data, np.uint8)

    # --- writing ---------------------------------------------------------------------------------

    def commit(self, snapshot: Snapshot) -> None:
        """Writes a snapshot's objects, then its manifest, then prunes.

        Raises:
            Superseded: Another process has taken over the run.
            StorageError: The store is out of reach or refuses.
        """
        self.fence.check()
        earlier = set(self._written)
        manifest = {
            "format": FORMAT,
            "step": snapshot.step,
            "token": self.fence.mine.token,
            "groups": self._put_groups(snapshot.groups),
            "state": dict(snapshot.state),
        }
        try:
            self.fence.check()
        except Superseded:
            for digest in self._written - earlier:  # of this commit alone, below this process's own token
                storage.delete(storage.join(self._root, "objects", f"{self.fence.mine.token:08d}", digest))
            raise
        self._create_manifest(snapshot.step, manifest)
        self._prune()

    def _create_manifest(self, step: int, manifest: Manifest) -> None:
        body = to_json(manifest)
        for count in itertools.count():
            name = f"step-{step:08d}.{manifest['token']}" + (f".{count}" if count else "")
            try:
                storage.write(self._manifest_uri(name), body, create_only=True)
            except storage.AlreadyExists:
                # The same bytes are this commit, whose first answer was lost on its way.
                if storage.read(self._manifest_uri(name)) != body:
                    continue
            self._manifests[name] = manifest
            return

    def _put_groups(self, groups: Mapping[str, Arrays]) -> dict[str, Any]:
        entries: dict[str, Any] = {name: {"arrays": table(arrays), "parts": []} for name, arrays in groups.items()}
        under_way: deque[tuple[str, Future[dict[str, Any]]]] = deque()

        def finish_first() -> None:
            group, future = under_way.popleft()
            entries[group]["parts"].append(future.result())

        with ThreadPoolExecutor(TRANSFERS, thread_name_prefix="kfit-upload") as pool:
            for name, arrays in groups.items():
                for part in parts(arrays):
                    if len(under_way) == TRANSFERS:
                        finish_first()
                    under_way.append((name, pool.submit(self._put, part)))
            while under_way:
                finish_first()
        return entries

    def _put(self, data: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        part = {"sha256": digest, "size_bytes": len(data), "token": self.fence.mine.token}
        with self._lock:
            written = digest in self._written
        if not written:
            uri = storage.join(self._root, "objects", _object_name(part))
            try:
                storage.write(uri, data, create_only=True)
            except storage.AlreadyExists:  # by an earlier try, whose answer was lost on its way
                if storage.read(uri) != data:
                    storage.write(uri, data)
            with self._lock:
                self._written.add(digest)
        return part

    def _prune(self) -> None:
        """Deletes old and void checkpoints, manifest first, then objects that no manifest names."""
        if not self.fence.holds():
            return  # a successor keeps what it needs; what follows could not harm it either
        claim = self.fence.mine
        valid: list[str] = []
        void: list[str] = []
        for name in self._folders():
            try:
                stamp = _stamp(name, self._manifest(name))
            except (storage.NotFound, ValueError, KeyError, TypeError):
                stamp = (name, _token_of(name))
                void.append(name)
            else:
                (valid if claim.allows(stamp) else void).append(name)
            if stamp[1] > claim.token:
                return  # of a successor
        for name in [*void, *valid[: -self._keep]]:
            storage.delete(self._manifest_uri(name))
            storage.delete(storage.join(self._root, name))
            self._manifests.pop(name, None)
        groups = [g for name in valid[-self._keep :] for g in self._manifest(name)["groups"].values()]
        self._prune_objects({_object_name(part): part["size_bytes"] for group in groups for part in group["parts"]})

    def _prune_objects(self, named: Mapping[str, int]) -> None:
        stored = {o.name: o for o in storage.list_objects(storage.join(self._root, "objects"))}
        for name, unnamed in stored.items():
            token, _, digest = name.rpartition("/")
            if name not in named and _number(token) <= self.fence.mine.token:
                storage.delete(unnamed.uri)
                if _number(token) == self.fence.mine.token:
                    self._written.discard(digest)
        lost = [name for name, size in named.items() if name not in stored or stored[name].size_bytes != size]
        if lost:
            # Somebody else deleted or cut them: the next checkpoint writes this process's again.
            self._note(f"warning: {len(lost)} of {len(named)} checkpoint objects were lost or cut in storage")
            self._written.difference_update(name.rpartition("/")[2] for name in lost)

    def _manifest_uri(self, name: str) -> str:
        return storage.join(self._root, name, "MANIFEST.json")


def _object_name(part: Mapping[str, Any]) -> str:
    """An object's name below `objects/`, from its entry in a manifest; format 2 has no token."""
    digest = str(part["sha256"])
    if not _DIGEST.fullmatch(digest):
        raise ValueError(f"{digest!r} is not a SHA-256")
    return f"{int(part['token']):08d}/{digest}" if "token" in part else digest


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0


def _stamp(name: str, manifest: Manifest) -> Stamp:
    return name, int(manifest["token"])


def _order(name: str) -> tuple[int, ...]:
    """Step, token and count of a folder's name; format 2 has no token, so its count stands second."""
    return tuple(int(part) for part in name.removeprefix("step-").split("."))


def _token_of(name: str) -> int:
    """The token in a folder's name; 0 where there is none."""
    return (*_order(name), 0)[1]

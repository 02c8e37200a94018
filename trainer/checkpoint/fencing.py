"""One writer at a time: each process of a run takes the next token, and only the newest token counts.

A pod that was cut off and replaced may come back to life and go on writing (a zombie). It cannot be
stopped from outside, so what it writes must not count, and what it deletes must be its own:

- A process that takes over creates `checkpoints/claims/<token>.json`, create-only, with a token above
  all before it, and lists in it the checkpoints that it accepts from its predecessors.
- A checkpoint counts only if its token is the newest claim's, or that claim accepts it. So whatever a
  zombie commits after the take-over is void for every reader, at whatever moment it was interrupted.
- Before each commit, and before anything is published, a process checks that its claim is still the
  newest, and ends if it is not.
- Every path that a process writes below `checkpoints/` carries its token, and it deletes only paths with its own
  token or older ones (`trainer.checkpoint.store`).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from trainer import storage
from trainer.checkpoint.run_folder import RunFolder, to_json
from trainer.errors import ConfigError

_CLAIM = re.compile(r"(\d{8,})\.json")

#: A checkpoint's folder name and the token it was written under.
Stamp = tuple[str, int]


class Superseded(ConfigError):
    """Another process of the same run has taken over; this one may not write any more."""


@dataclass(frozen=True)
class Claim:
    """The right of one process to write.

    Attributes:
        token: Rises with every process of the run.
        accepted: Checkpoints of earlier processes that stay valid.
        holder: Who took it, for a person.
    """

    token: int
    accepted: frozenset[Stamp]
    holder: str

    def allows(self, stamp: Stamp) -> bool:
        """Returns whether a checkpoint counts while this is the newest claim."""
        return stamp[1] == self.token or stamp in self.accepted


#: The claim before the first process of a run: no checkpoint counts.
NOBODY = Claim(0, frozenset(), "nobody")


class Fence:
    """The claims of one run.

    Args:
        folder: The run's folder.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._run = folder.run_id
        self._root = folder.path("checkpoints", "claims")
        self._mine: Claim | None = None

    @property
    def mine(self) -> Claim:
        """The claim this process took."""
        assert self._mine is not None, "take() comes first"
        return self._mine

    def newest(self) -> Claim:
        """Reads the newest claim, the only one that counts.

        Raises:
            StorageError: The store is out of reach or refuses.
        """
        while True:
            tokens = self._tokens()
            if not tokens:
                return NOBODY
            try:
                return _parse(storage.read(self._uri(tokens[-1])))
            except storage.NotFound:
                continue  # a newer one came, and this one was cleared away

    def take(self, accept: Callable[[Claim], Iterable[Stamp]]) -> None:
        """Takes the run over: from now on, no process with an earlier claim can commit.

        Args:
            accept: Called with the newest claim so far; returns the checkpoints that stay valid.

        Raises:
            StorageError: The store is out of reach or refuses.
        """
        nonce = secrets.token_hex(8)
        while True:
            before = self.newest()
            stamps = sorted(set(accept(before)))
            token = before.token + 1
            holder = (
                f"{socket.gethostname()} process {os.getpid()}, {time.strftime('%Y-%m-%d %H:%M:%SZ', time.gmtime())}"
            )
            body = to_json({"token": token, "holder": holder, "nonce": nonce, "accepted": stamps})
            # An older number may be free again, since old claims are cleared away: only the newest is worth having.
            if self._created(self._uri(token), body) and self.newest().token == token:
                self._mine = Claim(token, frozenset(stamps), holder)
                break
        for old in self._tokens():
            if old < token:
                storage.delete(self._uri(old))

    def holds(self) -> bool:
        """Returns whether no other process has taken over; costs one listing."""
        return self._tokens()[-1:] == [self.mine.token]

    def check(self) -> None:
        """Checks that this process may still write.

        Raises:
            Superseded: Another process has taken over.
        """
        if not self.holds():
            raise Superseded(
                f"another process of this run has taken over ({self.newest().holder}); this one writes nothing more",
                where=f"run {self._run}",
                remedy="nothing is lost: the run goes on there. Two Jobs of one run? Cancel one of them",
            )

    def _created(self, uri: str, body: bytes) -> bool:
        try:
            storage.write(uri, body, create_only=True)
        except storage.AlreadyExists:
            # Written by an earlier try whose answer was lost on its way.
            with contextlib.suppress(storage.NotFound):  # cleared away: a newer one has come
                return storage.read(uri) == body
            return False
        return True

    def _tokens(self) -> list[int]:
        listed = storage.list_objects(self._root, missing_ok=True)
        return sorted(int(m[1]) for o in listed if (m := _CLAIM.fullmatch(o.name)))

    def _uri(self, token: int) -> str:
        return storage.join(self._root, f"{token:08d}.json")


def _parse(data: bytes) -> Claim:
    document = json.loads(data)
    accepted = frozenset((str(name), int(token)) for name, token in document["accepted"])
    return Claim(int(document["token"]), accepted, str(document["holder"]))

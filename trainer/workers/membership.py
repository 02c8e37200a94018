"""Which workers of the run are there, what they sent, and which error ends the run for all of them.

Threads read and send; one thread, the monitor, is the only one that ends this process, and only where another
worker failed and the main thread does not end by itself, as in a collective that waits for that worker for ever.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Any

from trainer.errors import (
    ConfigError,
    DataError,
    KfitError,
    ModelCodeError,
    PeerLost,
    Preempted,
    Stalled,
    StorageError,
)
from trainer.workers.peer_link import PeerLink
from trainer.workers.rank import Rank
from trainer.workers.transport import Connection, Message

#: A worker that was not heard of for so long is lost. A closed connection is noticed at once.
SILENCE_S = 20.0
_CHECK_EVERY_S = 1.0
#: Time for the main thread to end by itself once another worker failed, and for the others to acknowledge.
_GRACE_S = 2.0
#: Time for queued messages to leave when the connections are closed.
_LAST_MESSAGES_S = 0.5
_CLASSES: dict[int, type[KfitError]] = {
    int(c.exit_code): c for c in (ConfigError, DataError, StorageError, ModelCodeError, Stalled, Preempted, PeerLost)
}
#: Sender of a failure that no worker reported: it was noticed here.
_NOBODY = -1


class Phase(Enum):
    """What the loss of another worker means to this one."""

    TRAINING = "it ends the run"
    TRAINED = "worker 0 publishes by itself; it is ignored"
    LEAVING = "all leave as agreed; it is expected"


class Membership:
    """The other workers, as this one sees them.

    Args:
        rank: Which worker this is.
        connections: From worker 0 to each other, by index; from each other to worker 0.
        leave: Ends this process because of another worker's error, where the main thread does not; called from the
            monitor's thread.
        silence_s: A worker not heard of for so long is lost.

    Attributes:
        chief_knows_error: Whether worker 0 has the error that ended the run, and shows it.
    """

    def __init__(
        self,
        rank: Rank,
        connections: Mapping[int, Connection],
        leave: Callable[[KfitError], None],
        *,
        silence_s: float = SILENCE_S,
    ) -> None:
        self.rank, self.silence_s, self._leave = rank, silence_s, leave
        self.chief_knows_error = False
        self._changed = threading.Condition()
        self._phase = Phase.TRAINING
        self._failure: KfitError | None = None
        self._peer_failed = False
        self._inbox: dict[int, deque[Message]] = {peer: deque() for peer in connections}
        self._acknowledged: set[int] = set()
        self._gone: set[int] = set()
        began_s = time.monotonic()
        for connection in connections.values():
            connection.heard_s = began_s
        with self._changed:  # a link's first message waits until all links stand
            self._links = {peer: self._link(peer, connection) for peer, connection in connections.items()}
        threading.Thread(target=self._monitor, name="kfit-peers-monitor", daemon=True).start()

    def _link(self, peer: int, connection: Connection) -> PeerLink:
        return PeerLink(connection, lambda message: self._received(peer, message), lambda: self._ended(peer))

    # --- the main thread -----------------------------------------------------------------------------

    @property
    def peers(self) -> list[int]:
        """The other workers that this one is connected to."""
        return sorted(self._links)

    @property
    def leaving(self) -> bool:
        """Whether all leave as agreed."""
        return self._phase is Phase.LEAVING

    def check(self) -> None:
        """Raises the error that ended the run, if there is one.

        Raises:
            KfitError: A worker failed or was lost.
        """
        if self._failure is not None and self._phase is Phase.TRAINING:
            raise self._failure

    def send(self, peers: Iterable[int], kind: str, body: bytes = b"", **values: Any) -> None:
        """Sends a message to each of some workers, and waits until it is on its way to all.

        Raises:
            KfitError: A worker failed or was lost.
        """
        links = [self._links[peer] for peer in peers]
        for link in links:
            link.post(kind, body, **values)
        for link in links:
            while not link.wait_until_sent(_CHECK_EVERY_S):  # not for ever: a signal's handler runs in between
                self.check()
        self.check()

    def receive(self, peer: int, kind: str) -> Message:
        """Waits for a worker's next message, which is of that kind.

        Raises:
            KfitError: A worker failed or was lost.
        """
        with self._changed:
            while not self._inbox[peer]:
                self.check()
                self._changed.wait(_CHECK_EVERY_S)  # not for ever: a signal's handler runs in between
            head, body = self._inbox[peer].popleft()
        assert head["kind"] == kind, f"{self.rank.name(peer)} sends {head['kind']}, this one expects {kind}"
        return head, body

    def wait_for_failure(self, timeout_s: float) -> None:
        """Waits so long for the report of a failed worker, or the loss of one."""
        with self._changed:
            self._changed.wait_for(lambda: self._failure is not None, timeout_s)

    def fail(self, error: KfitError) -> KfitError:
        """Ends the run for all workers because of this one's error.

        Returns:
            The error that ended the run: another worker's, where that was first.
        """
        with self._changed:
            if self._failure is not None and self._phase is Phase.TRAINING:
                return self._failure
            self._failure = error
        report = {"code": int(error.exit_code), "what": error.what, "where": error.where, "remedy": error.remedy}
        self._report(self.peers, {"origin": self.rank.index, **report})
        self._wait_for_acknowledgements()
        self.chief_knows_error = self.rank.chief or 0 in self._acknowledged
        return error

    def send_result(self, result: Any) -> None:
        """Sends worker 0's result, which ends the run; waits a moment for the others to acknowledge it."""
        self.enter(Phase.LEAVING)
        for link in self._links.values():
            link.post("result", value=result)
        self._wait_for_acknowledgements()

    def enter(self, phase: Phase) -> None:
        """Begins a phase of the run."""
        with self._changed:
            self._phase = phase
            self._changed.notify_all()

    def _wait_for_acknowledgements(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._acknowledged | self._gone >= set(self._links), _GRACE_S)

    def close(self) -> None:
        """Sends what is queued, for a moment, and closes all connections."""
        self.enter(Phase.LEAVING)
        until_s = time.monotonic() + _LAST_MESSAGES_S
        for link in self._links.values():
            link.wait_until_sent(max(until_s - time.monotonic(), 0.0))
        for link in self._links.values():
            link.close()

    # --- the threads of the links ----------------------------------------------------------------------

    def _received(self, peer: int, message: Message) -> None:
        head, _ = message
        with self._changed:
            link = self._links[peer]
        if head["kind"] == "failure":
            link.post("acknowledge")
            self._failed(peer, head)
            return
        with self._changed:
            if head["kind"] == "acknowledge":
                self._acknowledged.add(peer)
            else:
                self._inbox[peer].append(message)
            if head["kind"] == "result":
                self._phase = Phase.LEAVING
                link.post("acknowledge")
            self._changed.notify_all()

    def _ended(self, peer: int) -> None:
        with self._changed:
            self._gone.add(peer)
            self._changed.notify_all()
        self._lost(peer, "was lost")

    def _lost(self, peer: int, how: str) -> None:
        report = {
            "origin": _NOBODY,
            "code": int(PeerLost.exit_code),
            "what": f"{self.rank.name(peer)} {how}",
            "where": "",
            "remedy": "all workers start again and go on from the newest checkpoint",
        }
        self._failed(peer, report)

    def _failed(self, peer: int, report: Mapping[str, Any]) -> None:
        """Ends the run because of a failure that a peer reported, or because of its loss; worker 0 passes it on."""
        origin = int(report["origin"])
        with self._changed:
            if self._phase is not Phase.TRAINING or self._failure is not None:
                return
            self._failure = _error_from(report, self.rank.name(origin) if origin != _NOBODY else "")
            self._peer_failed = True
            self.chief_knows_error = self.rank.chief or (origin != _NOBODY and peer == 0)
            self._changed.notify_all()
        if self.rank.chief:
            self._report([other for other in self._links if other != peer], report)

    def _report(self, peers: Iterable[int], report: Mapping[str, Any]) -> None:
        values: dict[str, Any] = {name: report[name] for name in ("origin", "code", "what", "where", "remedy")}
        for peer in peers:
            self._links[peer].post("failure", **values)

    # --- the monitor -------------------------------------------------------------------------------------

    def _monitor(self) -> None:
        while self._phase is not Phase.LEAVING and not self._peer_failed:
            with self._changed:
                self._changed.wait(_CHECK_EVERY_S)
            for peer, link in self._links.items():
                if time.monotonic() - link.heard_s > self.silence_s:
                    self._lost(peer, f"has not been heard of for {self.silence_s:.0f} s")
        with self._changed:
            in_order = self._changed.wait_for(lambda: self._phase is not Phase.TRAINING, _GRACE_S)
        if not in_order and self._failure is not None:
            self._leave(self._failure)


def _error_from(report: Mapping[str, Any], worker: str) -> KfitError:
    """The error that another worker reported, under its own exit code."""
    where = ": ".join(filter(None, [worker, str(report["where"])]))
    return _CLASSES.get(int(report["code"]), ModelCodeError)(
        str(report["what"]), where=where, remedy=str(report["remedy"])
    )

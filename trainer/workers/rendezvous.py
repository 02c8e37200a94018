"""How the workers of a run find each other: worker 0 listens, the others connect, within a deadline."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from trainer.errors import PeerLost
from trainer.workers.authentication import join_peer
from trainer.workers.rank import Rank
from trainer.workers.rendezvous_server import RendezvousServer
from trainer.workers.transport import Connection

_CONNECT_S = 5.0
_BETWEEN_TRIES_S = 0.5
_NOTE_EVERY_S = 15.0
_ASK_WHETHER_FINISHED_EVERY_S = 10.0
#: A run that may begin with fewer workers waits so long for another one since the last came.
LAST_CALL_S = 60.0


@dataclass(frozen=True)
class Rendezvous:
    """All workers of a run, connected.

    Attributes:
        rank: This worker's rank among those the run begins with, which may be fewer than were asked for.
        connections: From worker 0 to each other worker, by index; from each other worker to worker 0.
        addresses: host:port of each worker's TensorFlow server, by index.
    """

    rank: Rank
    connections: dict[int, Connection]
    addresses: tuple[str, ...]


class Finished(Exception):
    """The run needs no worker any more."""


def meet(
    rank: Rank,
    identity: Mapping[str, str],
    *,
    deadline_s: float,
    note: Callable[[str], None],
    finished: Callable[[], bool],
    last_call_s: float = LAST_CALL_S,
) -> Rendezvous:
    """Waits until all workers are connected; or as few as may begin, where no other comes for `last_call_s`.

    A pod that is started again has another address; names are looked up anew with each try.

    Args:
        rank: Which worker this is.
        identity: What all must share: the run and its configuration.
        deadline_s: Seconds to wait.
        note: Told one line for a person.
        finished: Whether the run has ended meanwhile; asked now and then by those who wait for worker 0.
        last_call_s: Seconds without another arrival, after which a run that may begins with fewer workers.

    Raises:
        PeerLost: Not all came; the error names who is missing.
        ConfigError: A worker has another run or configuration.
        Finished: The run has ended, and this worker was late.
    """
    port = rank.grpc_port or _free_port()
    if rank.chief:
        return _listen(rank, identity, port, deadline_s, note, last_call_s)
    return _connect(rank, identity, port, deadline_s, note, finished)


# --- worker 0 -------------------------------------------------------------------------------------


def _listen(
    rank: Rank,
    identity: Mapping[str, str],
    port: int,
    deadline_s: float,
    note: Callable[[str], None],
    last_call_s: float,
) -> Rendezvous:
    server = RendezvousServer(rank, identity, note)
    try:
        workers = _gather(rank, server, deadline_s, note, last_call_s)
    except BaseException as error:
        server.dismiss(error.what if isinstance(error, PeerLost) else "worker 0 was ended")
        raise
    return Rendezvous(rank.of_fewer(workers), *server.welcome(f"{rank.hosts[0]}:{port}", workers))


def _gather(
    rank: Rank, server: RendezvousServer, deadline_s: float, note: Callable[[str], None], last_call_s: float
) -> int:
    """Returns how many workers the run begins with: all, or those that are there after the last call."""
    until_s = time.monotonic() + deadline_s
    note_s = time.monotonic() + _NOTE_EVERY_S
    fewest = rank.min_workers or rank.workers
    arrived, since_s = 0, time.monotonic()
    while True:
        server.check_configurations()
        if server.roll_call(rank.workers):
            return rank.workers
        if server.leading() != arrived:
            arrived, since_s = server.leading(), time.monotonic()
        called = time.monotonic() - since_s >= last_call_s
        if called and arrived >= fewest and server.roll_call(arrived):
            return arrived
        with server.changed:
            server.changed.wait(min(1.0, last_call_s))
            missing = ", ".join(rank.name(index) for index in server.missing())
        if time.monotonic() >= until_s:
            server.check_configurations()
            raise _not_all(f"{missing or 'a worker'} did not come within {deadline_s:.0f} s")
        if missing and time.monotonic() >= note_s:
            note_s += _NOTE_EVERY_S
            note(f"waiting for {missing}")


# --- the other workers ----------------------------------------------------------------------------


def _connect(
    rank: Rank,
    identity: Mapping[str, str],
    port: int,
    deadline_s: float,
    note: Callable[[str], None],
    finished: Callable[[], bool],
) -> Rendezvous:
    began_s = time.monotonic()
    noted_s = asked_s = began_s
    while True:
        reached = _try(rank, identity, port, began_s + deadline_s)
        if isinstance(reached, Rendezvous):
            return reached
        now_s = time.monotonic()
        if now_s >= began_s + deadline_s:
            raise _not_all(f"{rank.name(0)} {reached} within {deadline_s:.0f} s")
        if now_s >= noted_s + _NOTE_EVERY_S:
            noted_s = now_s
            note(f"waiting: {rank.name(0)} {reached}")
        if now_s >= asked_s + _ASK_WHETHER_FINISHED_EVERY_S:
            asked_s = now_s
            if finished():
                raise Finished
        time.sleep(_BETWEEN_TRIES_S)


def _try(rank: Rank, identity: Mapping[str, str], port: int, until_s: float) -> Rendezvous | str:
    """Tries once to join; returns what kept it from that."""
    try:
        connected = socket.create_connection((rank.hosts[0], rank.meeting_port), timeout=_CONNECT_S)
    except OSError:
        return "was not reached"
    connection = Connection(connected)
    try:
        join_peer(connection, rank.secret, _CONNECT_S)
    except OSError:
        connection.close()
        return "did not prove that it belongs to this run"
    try:
        connection.send("join", index=rank.index, identity=dict(identity), address=f"{rank.hosts[rank.index]}:{port}")
        while True:
            answer, _ = connection.receive(max(until_s - time.monotonic(), 0.001))
            if answer["kind"] == "welcome":
                addresses = tuple(answer["addresses"])
                return Rendezvous(rank.of_fewer(len(addresses)), {0: connection}, addresses)
            if answer["kind"] == "dismissed":
                connection.close()
                raise _not_all(str(answer["reason"]))
            connection.send("present")
    except TimeoutError:
        connection.close()
        return "did not get all workers together"
    except OSError:
        connection.close()
        return "closed the connection"


def _not_all(what: str) -> PeerLost:
    return PeerLost(what, remedy="are all pods scheduled? Kueue (queue: in the job file) starts them together")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])

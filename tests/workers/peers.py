"""Workers of one run as threads of this process, connected over real sockets."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from trainer.errors import KfitError
from trainer.workers.coordinator import Coordinator
from trainer.workers.membership import Membership
from trainer.workers.rank import Rank
from trainer.workers.rendezvous import Rendezvous, meet
from trainer.workers.transport import Connection

IDENTITY = {"run": "r", "configuration": "c"}
SECRET = b"the uid of the Job"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def ranks(workers: int, secret: bytes = SECRET) -> list[Rank]:
    port = free_port()
    return [Rank(index, workers, ("127.0.0.1",) * workers, port, 0, secret) for index in range(workers)]


def join(rank: Rank, **changes: Any) -> Rendezvous:
    """`meet` with defaults for a test."""
    options: dict[str, Any] = {"deadline_s": 20.0, "note": lambda _: None, "finished": lambda: False}
    return meet(rank, changes.pop("identity", IDENTITY), **(options | changes))


def connect(rank: Rank) -> socket.socket:
    """A bare connection to the port of worker 0, as soon as it is open."""
    until_s = time.monotonic() + 10
    while True:
        try:
            return socket.create_connection(("127.0.0.1", rank.meeting_port), timeout=10)
        except ConnectionRefusedError:
            assert time.monotonic() < until_s


def close(*met: Rendezvous) -> None:
    for each in met:
        for connection in each.connections.values():
            connection.close()


def eventually(condition: Callable[[], Any], timeout_s: float = 15.0) -> bool:
    until_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > until_s:
            return False
        time.sleep(0.02)
    return True


class ConnectedWorkers:
    """Coordinators that are connected, and the errors for which their monitors would have ended each process."""

    def __init__(self, workers: int, silence_s: float = 20.0, bare: tuple[int, ...] = ()) -> None:
        self.ends: list[list[KfitError]] = [[] for _ in range(workers)]
        members = ranks(workers)
        with ThreadPoolExecutor(workers) as pool:
            self.met = list(pool.map(join, members))
        self.connections: list[dict[int, Connection]] = [each.connections for each in self.met]
        self.coordinators = {
            rank.index: Coordinator(
                Membership(rank, self.connections[rank.index], self.ends[rank.index].append, silence_s=silence_s)
            )
            for rank in members
            if rank.index not in bare
        }

    def all(self, call: Callable[[Coordinator], Any]) -> list[Future[Any]]:
        """Calls in each worker at once."""
        pool = ThreadPoolExecutor(len(self.coordinators))
        futures = [pool.submit(call, coordinator) for coordinator in self.coordinators.values()]
        pool.shutdown(wait=False)
        return futures

    def close(self) -> None:
        for coordinator in self.coordinators.values():
            coordinator.begin_shutdown()
        close(*self.met)


@contextlib.contextmanager
def connected_workers(workers: int, silence_s: float = 20.0, bare: tuple[int, ...] = ()) -> Iterator[ConnectedWorkers]:
    """Connected workers; those in `bare` have connections and no coordinator."""
    made = ConnectedWorkers(workers, silence_s, bare)
    try:
        yield made
    finally:
        made.close()

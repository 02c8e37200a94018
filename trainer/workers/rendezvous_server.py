"""Where worker 0 takes in the other workers of its run, and nobody else.

A connection is unknown until the other end has proven the run's secret. Unknown connections get little: a few
bytes are read, for a few seconds, from a bounded number at a time. Whatever they send, they are closed and the
rendezvous goes on. Only a worker that knows the secret can end a run, by having another configuration.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Mapping

from trainer.errors import ConfigError
from trainer.workers.authentication import accept_peer
from trainer.workers.rank import Rank
from trainer.workers.transport import Connection

#: Time for an unknown connection to prove the secret and say who it is.
_HANDSHAKE_S = 5.0
#: A worker that does not answer the roll call for so long has left.
_ROLL_CALL_S = 5.0
#: Unknown connections at a time; one more closes the oldest. Workers of the run come again.
_MOST_UNKNOWN = 64
_MOST_JOIN_BYTES = 64 * 1024
_PAUSE_AFTER_ERROR_S = 0.1


class RendezvousServer:
    """Listens for the other workers of a run.

    Args:
        rank: Worker 0's rank.
        identity: What all workers must share: the run and its configuration.
        note: Told one line when a connection was turned away, once.

    Attributes:
        changed: Notified when a worker arrives.

    Raises:
        ConfigError: The port cannot be opened.
    """

    def __init__(self, rank: Rank, identity: Mapping[str, str], note: Callable[[str], None]) -> None:
        self._rank, self._identity, self._note = rank, dict(identity), note
        self._most_unknown = max(_MOST_UNKNOWN, 2 * rank.workers)
        self.changed = threading.Condition()
        self._unknown: dict[Connection, None] = {}
        self._present: dict[int, tuple[Connection, str]] = {}
        self._other_configuration = ""
        self._noted = self._closed = False
        dual_stack = not rank.local and socket.has_dualstack_ipv6()
        try:
            self._listener = socket.create_server(
                ("127.0.0.1" if rank.local else "", rank.meeting_port),
                family=socket.AF_INET6 if dual_stack else socket.AF_INET,
                dualstack_ipv6=dual_stack,
            )
        except OSError as error:
            raise ConfigError(
                f"port {rank.meeting_port}, where workers meet, cannot be opened: {error.strerror}",
                where="several workers",
                remedy="end the other process of this machine that listens there",
            ) from error
        threading.Thread(target=self._accept, name="kfit-rendezvous", daemon=True).start()

    def missing(self) -> list[int]:
        """Returns the workers that have not arrived."""
        return [index for index in range(1, self._rank.workers) if index not in self._present]

    def check_configurations(self) -> None:
        """Raises where a worker of this run has another configuration.

        Raises:
            ConfigError: It names the worker.
        """
        if self._other_configuration:
            raise ConfigError(
                f"{self._other_configuration} belongs to another run or has another configuration",
                where="several workers",
                remedy="give all workers the same job file, the same --run and the same version of kfit",
            )

    def leading(self) -> int:
        """Returns how many workers have arrived in a row, worker 0 included."""
        return min(self.missing(), default=self._rank.workers)

    def roll_call(self, workers: int) -> bool:
        """Asks every worker that arrived whether it is still there, all at once.

        Args:
            workers: How many must be there, from worker 0 on.

        Returns:
            Whether all of those answered. Those that did not are missing again.
        """
        with self.changed:
            present = dict(self._present)
        if self.leading() < workers:
            return False
        until_s = time.monotonic() + _ROLL_CALL_S
        for connection, _ in present.values():
            with contextlib.suppress(OSError):  # a broken connection shows when its answer is awaited
                connection.send("roll call")
        for index, (connection, address) in present.items():
            try:
                connection.receive(max(until_s - time.monotonic(), 0.001), most_json_bytes=_MOST_JOIN_BYTES)
            except OSError:
                self._forget(index, (connection, address))
        return self.leading() >= workers

    def welcome(self, own_address: str, workers: int) -> tuple[dict[int, Connection], tuple[str, ...]]:
        """Tells every worker that the run begins, sends away those it begins without, and stops listening.

        Args:
            own_address: host:port of worker 0's TensorFlow server.
            workers: How many the run begins with, from worker 0 on.

        Returns:
            The connections by worker, and the TensorFlow address of every worker in order.
        """
        self.close()
        for index in [index for index in self._present if index >= workers]:
            _send_away(self._present.pop(index)[0], f"the run began with {workers} of {self._rank.workers} workers")
        present = dict(sorted(self._present.items()))
        addresses = (own_address, *(address for _, address in present.values()))
        for connection, _ in present.values():
            with contextlib.suppress(OSError):  # the coordinator notices the loss
                connection.send("welcome", addresses=addresses)
        return {index: connection for index, (connection, _) in present.items()}, addresses

    def dismiss(self, reason: str) -> None:
        """Sends away all workers that arrived, and stops listening."""
        self.close()
        for connection, _ in self._present.values():
            _send_away(connection, reason)

    def close(self) -> None:
        """Stops listening and closes unknown connections; connections to workers stay open."""
        with self.changed:
            self._closed = True
            unknown = list(self._unknown)
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # ends an `accept` that waits
        self._listener.close()
        for connection in unknown:
            connection.close()

    # --- threads -------------------------------------------------------------------------------------

    def _accept(self) -> None:
        while not self._closed:
            try:
                connection = Connection(self._listener.accept()[0])
            except OSError:  # the listener was closed, or the connection was reset before it was accepted
                time.sleep(_PAUSE_AFTER_ERROR_S)
                continue
            with self.changed:
                excess = list(self._unknown)[: len(self._unknown) - self._most_unknown + 1]
                self._unknown[connection] = None
            for oldest in excess:
                oldest.close()
            threading.Thread(target=self._admit, args=(connection,), name="kfit-admit", daemon=True).start()

    def _admit(self, connection: Connection) -> None:
        try:
            accept_peer(connection, self._rank.secret, _HANDSHAKE_S)
            request, _ = connection.receive(_HANDSHAKE_S, most_json_bytes=_MOST_JOIN_BYTES, most_body_bytes=0)
            index, identity, address = int(request["index"]), request["identity"], str(request["address"])
            if not 0 < index < self._rank.workers:
                raise ConnectionError("not a worker of this run")
        except (OSError, KeyError, ValueError, TypeError):
            self._turn_away(connection)
            return
        with self.changed:
            self._unknown.pop(connection, None)
            if self._closed:
                connection.close()
                return
            if identity != self._identity:
                self._other_configuration = self._rank.name(index)
            before = self._present.get(index)
            self._present[index] = (connection, address)
            self.changed.notify_all()
        if before is not None:
            before[0].close()

    def _turn_away(self, connection: Connection) -> None:
        connection.close()
        with self.changed:
            self._unknown.pop(connection, None)
            first, self._noted = not (self._noted or self._closed), True
        if first:
            self._note("closed a connection that is not of a worker of this run; further ones are closed silently")

    def _forget(self, index: int, arrival: tuple[Connection, str]) -> None:
        with self.changed:
            if self._present.get(index) == arrival:
                del self._present[index]
        arrival[0].close()


def _send_away(connection: Connection, reason: str) -> None:
    with contextlib.suppress(OSError):
        connection.send("dismissed", reason=reason)
    connection.close()

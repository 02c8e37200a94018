"""How the workers of a run find each other: worker 0 waits at a port, the others come, within a deadline."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from trainer.errors import ConfigError, PeerLost
from trainer.workers.rank import Rank
from trainer.workers.transport import Wire

_TRY_S = 5.0
_AGAIN_S = 0.5
_SAY_EVERY_S = 15.0
_ASK_EVERY_S = 10.0


@dataclass(frozen=True)
class Met:
    """The workers, all there.

    Attributes:
        wires: To the others: from the chief to each, from each to the chief.
        addresses: host:port of each worker's TensorFlow server.
        door: The chief's; it turns away who comes too late. Closed when the run ends.
    """

    wires: dict[int, Wire]
    addresses: tuple[str, ...]
    door: Door | None


class Finished(Exception):
    """The run needs no worker any more."""


def meet(
    rank: Rank,
    identity: Mapping[str, str],
    *,
    deadline_s: float,
    note: Callable[[str], None],
    finished: Callable[[], bool],
) -> Met:
    """Waits until all workers are there.

    A pod that is started again has another address; names are looked up anew with each try.

    Args:
        rank: Which worker this is.
        identity: What all must share: the run and its configuration.
        deadline_s: Seconds to wait.
        note: Told one line for a person.
        finished: Whether the run has ended meanwhile; asked now and then by those who wait for the chief.

    Raises:
        PeerLost: Not all came; the error names who is missing.
        ConfigError: A worker is of another run or configuration.
        Finished: The run has ended, and this worker was late.
    """
    port = rank.grpc_port or _free_port()
    if rank.chief:
        return _receive(rank, identity, port, deadline_s, note)
    return _come(rank, identity, port, deadline_s, note, finished)


# --- the chief ------------------------------------------------------------------------------------


class Door:
    """Where the chief takes the others in.

    Args:
        rank: The chief's.
        identity: What all must share.
    """

    def __init__(self, rank: Rank, identity: Mapping[str, str]) -> None:
        self._rank, self._identity = rank, dict(identity)
        self.news = threading.Condition()
        self.present: dict[int, tuple[Wire, str]] = {}
        self.stranger: str = ""
        self._met = False
        try:
            self._listen(both=not rank.local and socket.has_dualstack_ipv6())
        except OSError as error:
            raise ConfigError(
                f"port {rank.meeting_port}, where workers meet, cannot be opened: {error.strerror}",
                where="several workers",
                remedy="another process of this machine holds it",
            ) from error

    def _listen(self, *, both: bool) -> None:
        self._server = socket.create_server(
            ("127.0.0.1" if self._rank.local else "", self._rank.meeting_port),
            family=socket.AF_INET6 if both else socket.AF_INET,
            dualstack_ipv6=both,
        )
        threading.Thread(target=self._accept, name="kfit-door", daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connected, _ = self._server.accept()
                threading.Thread(
                    target=self._greet, args=(Wire(connected),), name="kfit-door-greet", daemon=True
                ).start()

    def _greet(self, wire: Wire) -> None:
        try:
            said, _ = wire.receive()
            index = int(said["index"])
            if not 0 < index < self._rank.workers:
                raise ConnectionError("not a worker of this run")
            with self.news:
                if self._met:
                    wire.send("busy")
                    wire.close()
                    return
                if said["identity"] != self._identity:
                    self.stranger = self._rank.name(index)
                before = self.present.get(index)
                self.present[index] = (wire, str(said["address"]))
                self.news.notify_all()
            if before:
                before[0].close()
        except (OSError, KeyError, ValueError, TypeError):
            wire.close()

    def roll_call(self) -> bool:
        """Whether all are there and answer; who does not is taken off the list."""
        if self.missing():
            return False
        for index, (wire, _) in list(self.present.items()):
            try:
                wire.send("all?")
                wire.receive(_TRY_S)
            except OSError:
                del self.present[index]
                wire.close()
        return not self.missing()

    def missing(self) -> list[int]:
        """Who is not there."""
        return [index for index in range(1, self._rank.workers) if index not in self.present]

    def shut(self) -> None:
        """Turns away who comes from now on."""
        self._met = True

    def close(self) -> None:
        """Ends it, and an `accept` that waits."""
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def send_away(self, why: str) -> None:
        """Closes it, and the connections of all who came."""
        self.shut()
        for wire, _ in self.present.values():
            with contextlib.suppress(OSError):
                wire.send("away", why=why)
            wire.close()
        self.close()


def _receive(rank: Rank, identity: Mapping[str, str], port: int, deadline_s: float, note: Callable[[str], None]) -> Met:
    door = Door(rank, identity)
    try:
        _wait(rank, door, deadline_s, note)
    except BaseException as error:
        door.send_away(error.what if isinstance(error, PeerLost) else "worker 0 was ended")
        raise
    present = dict(sorted(door.present.items()))
    addresses = [f"{rank.hosts[0]}:{port}", *(address for _, address in present.values())]
    for wire, _ in present.values():
        with contextlib.suppress(OSError):  # its loss is noticed as any other
            wire.send("welcome", addresses=addresses)
    return Met({index: wire for index, (wire, _) in present.items()}, tuple(addresses), door)


def _wait(rank: Rank, door: Door, deadline_s: float, note: Callable[[str], None]) -> None:
    until_s = time.monotonic() + deadline_s
    say_s = time.monotonic() + _SAY_EVERY_S
    while True:
        with door.news:
            if door.stranger:
                raise ConfigError(
                    f"{door.stranger} is of another run or has another configuration",
                    where="several workers",
                    remedy="give all workers the same job file and the same --run",
                )
            if door.roll_call():
                door.shut()
                return
            door.news.wait(1.0)
            missing = ", ".join(rank.name(index) for index in door.missing())
        if time.monotonic() >= until_s:
            raise _not_all(f"{missing} did not come within {deadline_s:.0f} s")
        if missing and time.monotonic() >= say_s:
            say_s += _SAY_EVERY_S
            note(f"waiting for {missing}")


# --- the others -----------------------------------------------------------------------------------


def _come(
    rank: Rank,
    identity: Mapping[str, str],
    port: int,
    deadline_s: float,
    note: Callable[[str], None],
    finished: Callable[[], bool],
) -> Met:
    began_s = time.monotonic()
    say_s = ask_s = began_s
    while True:
        reached = _try(rank, identity, port, began_s + deadline_s)
        if isinstance(reached, Met):
            return reached
        now_s = time.monotonic()
        if now_s >= began_s + deadline_s:
            raise _not_all(f"{rank.name(0)} {reached} within {deadline_s:.0f} s")
        if now_s >= say_s + _SAY_EVERY_S:
            say_s = now_s
            note(f"waiting: {rank.name(0)} {reached}")
        if now_s >= ask_s + _ASK_EVERY_S:
            ask_s = now_s
            if finished():
                raise Finished
        time.sleep(_AGAIN_S)


def _try(rank: Rank, identity: Mapping[str, str], port: int, until_s: float) -> Met | str:
    """One try to be let in; gives why it did not come to that."""
    try:
        connected = socket.create_connection((rank.hosts[0], rank.meeting_port), timeout=_TRY_S)
    except OSError:
        return "was not reached"
    wire = Wire(connected)
    try:
        wire.send("hello", index=rank.index, identity=dict(identity), address=f"{rank.hosts[rank.index]}:{port}")
        while True:
            said, _ = wire.receive(until_s - time.monotonic())
            if said["kind"] == "welcome":
                return Met({0: wire}, tuple(said["addresses"]), None)
            if said["kind"] == "away":
                wire.close()
                raise _not_all(str(said["why"]))
            if said["kind"] == "busy":
                wire.close()
                return "still runs with a worker before this one"
            wire.send("here")
    except TimeoutError:
        wire.close()
        return "did not get all workers together"
    except OSError:
        wire.close()
        return "went away"


def _not_all(what: str) -> PeerLost:
    return PeerLost(what, remedy="are all pods scheduled? Kueue (queue: in the job file) starts them together")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])

"""The workers of a run among each other: they meet, agree between steps, and none outlives another.

A connection of its own beside TensorFlow's, from each worker to worker 0. What TensorFlow does when a
worker is lost is to wait in a collective, or to abort; neither ends with an exit code or a word, so a
thread here watches, and ends the process in order.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from trainer.errors import ConfigError, DataError, KfitError, ModelCodeError, PeerLost, Preempted, StorageError
from trainer.workers.rank import ALONE, Rank
from trainer.workers.transport import Wire

#: A worker that was not heard of for so long is lost. Killed ones are noticed at once.
SILENCE_S = 20.0
_BEAT_S = 2.0
#: What the main thread may take to end by itself once a peer is lost; then it is in a collective.
_GRACE_S = 2.0
#: Wished time between two agreements of training workers.
_AGREE_EVERY_S = 0.2
_MOST_TICKS = 1000
_CLASSES: dict[int, type[KfitError]] = {
    int(c.exit_code): c for c in (ConfigError, DataError, StorageError, ModelCodeError, Preempted, PeerLost)
}


@dataclass(frozen=True)
class Word:
    """What the workers agreed on.

    Attributes:
        stop: Why the run stops after this step; empty: it goes on.
        save: Whether a checkpoint is taken after this step.
    """

    stop: str
    save: bool


class Alone:
    """A run of one worker: it agrees with itself."""

    rank = ALONE
    chief_knows = True

    def agree(self, *, stop: str, save: bool, must: bool = False) -> Word:
        """What was said."""
        return Word(stop, save)

    def gather(self, body: bytes) -> list[bytes]:
        """What was given."""
        return [body]

    def tell(self, value: Any = None) -> Any:
        """What was said."""
        return value

    def spread(self, body: bytes = b"") -> bytes:
        """What was given."""
        return body

    def fail(self, error: BaseException) -> BaseException:
        """The error itself."""
        return error

    def relax(self) -> None:
        """Nothing to relax."""

    def part(self) -> None:
        """Nobody to part from."""

    def finish(self, document: Any) -> Any:
        """What was given."""
        return document


class Group:
    """One worker's side of a run of several, after they have met (`trainer.workers.rendezvous`).

    Args:
        rank: Which worker this is.
        wires: To the others: from the chief to each, from each to the chief.
        leave: Ends this process, because of an error; called from a thread where the main thread does not end.
        silence_s: A peer not heard of for so long is lost.
        clock: Monotonic seconds.

    Attributes:
        chief_knows: Whether the chief has this run's error, and tells it.
    """

    def __init__(
        self,
        rank: Rank,
        wires: dict[int, Wire],
        leave: Callable[[KfitError], None],
        *,
        silence_s: float = SILENCE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rank = rank
        self._wires, self._leave = wires, leave
        self._silence_s, self._clock = silence_s, clock
        self._news = threading.Condition()
        self._inbox: dict[int, deque[tuple[dict[str, Any], bytes]]] = {peer: deque() for peer in wires}
        self._failure: KfitError | None = None
        self._seen: set[int] = set()
        self._gone: set[int] = set()
        self._over = self._parted = False
        self.chief_knows = False
        self._ticks, self._next, self._agreed_s = 0, 1, clock()
        for peer, wire in wires.items():
            wire.heard_s = time.monotonic()
            self._thread("read", self._read, peer, wire)
        self._thread("beat", self._beat)
        self._thread("watch", self._watch)

    def _thread(self, name: str, target: Callable[..., None], *args: Any) -> None:
        threading.Thread(target=target, args=args, name=f"kfit-peers-{name}", daemon=True).start()

    # --- together ----------------------------------------------------------------------------------

    def gather(self, body: bytes) -> list[bytes]:
        """Brings bytes of every worker to the chief.

        Returns:
            On the chief all of them, by worker; on the others nothing.

        Raises:
            KfitError: A worker failed.
        """
        if not self.rank.chief:
            self._send(0, "gather", body)
            return []
        return [body, *(self._next_of(peer, "gather")[1] for peer in sorted(self._wires))]

    def tell(self, value: Any = None) -> Any:
        """Gives every worker what the chief says.

        Args:
            value: JSON; only the chief's counts.

        Raises:
            KfitError: A worker failed.
        """
        if not self.rank.chief:
            return self._next_of(0, "tell")[0]["value"]
        for peer in self._wires:
            self._send(peer, "tell", value=value)
        return value

    def spread(self, body: bytes = b"") -> bytes:
        """Gives every worker the chief's bytes.

        Raises:
            KfitError: A worker failed.
        """
        if not self.rank.chief:
            return self._next_of(0, "spread")[1]
        for peer in self._wires:
            self._send(peer, "spread", body)
        return body

    def agree(self, *, stop: str, save: bool, must: bool = False) -> Word:
        """Between two steps: whether to stop or to save, the same answer for every worker.

        All must call it after the same steps. Mostly it costs nothing: the workers speak a few times a
        second, after numbers of steps that the chief has set by the pace before.

        Args:
            stop: Why this worker was asked to stop; empty: it was not.
            save: Whether a checkpoint is due; only the chief's counts.
            must: Speak now, whatever the number of steps. All or none must ask for it.

        Raises:
            KfitError: A worker failed.
        """
        self._ticks += 1
        if self._failure is not None:
            raise self._failure
        if self._ticks < self._next and not must:
            return Word("", False)
        said = self.gather(stop.encode())
        word = None
        if self.rank.chief:
            word = {"stop": self._reason(said), "save": save, "ticks": self._ticks_ahead(must)}
        word = self.tell(word)
        self._ticks, self._next = 0, int(word["ticks"])
        return Word(str(word["stop"]), bool(word["save"]))

    def _reason(self, said: list[bytes]) -> str:
        for peer, text in enumerate(said):
            if text:
                return f"{text.decode()} to {self.rank.name(peer)}"
        return ""

    def _ticks_ahead(self, must: bool) -> int:
        now_s = self._clock()
        took_s, self._agreed_s = max(now_s - self._agreed_s, 1e-6), now_s
        wished = int(self._ticks * _AGREE_EVERY_S / took_s)
        # Validation and saves stand between some steps, so a pace measured there says little.
        return self._next if must else max(1, min(wished, 4 * self._next, _MOST_TICKS))

    def _send(self, peer: int, kind: str, body: bytes = b"", **values: Any) -> None:
        try:
            self._wires[peer].send(kind, body, **values)
        except OSError:
            self._lost(peer, "was lost")
        if self._failure is not None:
            raise self._failure

    def _next_of(self, peer: int, kind: str) -> tuple[dict[str, Any], bytes]:
        with self._news:
            while not self._inbox[peer]:
                if self._failure is not None:
                    raise self._failure
                self._news.wait(1.0)  # not for ever: a signal's handler runs in between
            head, body = self._inbox[peer].popleft()
        assert head["kind"] == kind, f"{self.rank.name(peer)} is at {head['kind']}, this one at {kind}"
        return head, body

    # --- the end -----------------------------------------------------------------------------------

    def fail(self, error: BaseException) -> BaseException:
        """Ends the run for all workers because of this one's error.

        Returns:
            The run's error: a peer's, where that came first (a collective with a lost peer fails in its own
            words a moment before the loss is noticed).
        """
        if self._parted:
            self.chief_knows = True
            return error
        if not isinstance(error, KfitError) or _of_a_collective(error):
            with self._news:
                self._news.wait_for(lambda: self._failure is not None, self._doubt_s(error))
        with self._news:
            if self._failure is not None:
                return self._failure
            mine = _to_tell(error)
            self._failure = mine
        said = {"code": int(mine.exit_code), "what": mine.what, "where": mine.where, "remedy": mine.remedy}
        self._tell_failure(self.rank.index, said)
        with self._news:
            self._news.wait_for(lambda: self._seen | self._gone >= set(self._wires), _GRACE_S)
        self.chief_knows = self.rank.chief or 0 in self._seen
        return error

    def _doubt_s(self, error: BaseException) -> float:
        return self._silence_s + _BEAT_S if _of_a_collective(error) else 0.0

    def relax(self) -> None:
        """After the last step: what becomes of the other workers counts no more for the chief."""
        self._over = self.rank.chief

    def part(self) -> None:
        """All leave, as agreed: from here on each for itself."""
        self._over = self._parted = True

    def finish(self, document: Any) -> Any:
        """Waits for the chief, which publishes, and ends the run for all.

        Args:
            document: The chief's result; others give None.

        Returns:
            The chief's result.
        """
        if not self.rank.chief:
            return self._next_of(0, "done")[0]["value"]
        for wire in self._wires.values():
            with contextlib.suppress(OSError):
                wire.send("done", value=document)
        with self._news:
            self._news.wait_for(lambda: self._seen | self._gone >= set(self._wires), _GRACE_S)
        return document

    def _tell_failure(self, origin: int, said: dict[str, Any], but: int = -1) -> None:
        for peer, wire in self._wires.items():
            if peer != but:
                with contextlib.suppress(OSError):
                    wire.send("fail", origin=origin, **said)

    # --- threads -----------------------------------------------------------------------------------

    def _read(self, peer: int, wire: Wire) -> None:
        try:
            while True:
                head, body = wire.receive()
                if head["kind"] == "fail":
                    self._failed(peer, head)
                elif head["kind"] != "beat":
                    if head["kind"] == "done":
                        self._over = True
                        wire.send("seen")
                    with self._news:
                        if head["kind"] == "seen":
                            self._seen.add(peer)
                        else:
                            self._inbox[peer].append((head, body))
                        self._news.notify_all()
        except OSError:
            with self._news:
                self._gone.add(peer)
                self._news.notify_all()
            self._lost(peer, "was lost")

    def _beat(self) -> None:
        while not self._over or self.rank.chief:
            for wire in self._wires.values():
                with contextlib.suppress(OSError):
                    wire.send("beat")
            time.sleep(_BEAT_S)

    def _watch(self) -> None:
        while not self._over:
            time.sleep(_BEAT_S / 2)
            for peer, wire in self._wires.items():
                if time.monotonic() - wire.heard_s > self._silence_s:
                    self._lost(peer, f"has not been heard of for {self._silence_s:.0f} s")

    def _lost(self, peer: int, how: str) -> None:
        if not self._over:
            said = {"code": int(PeerLost.exit_code), "what": f"{self.rank.name(peer)} {how}", "where": ""}
            self._end(-1, {**said, "remedy": "all workers start again and go on from the newest checkpoint"}, peer)

    def _failed(self, peer: int, said: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):
            self._wires[peer].send("seen")
        if self._over:
            return
        self.chief_knows = peer == 0 or self.rank.chief
        self._end(int(said["origin"]), {k: said[k] for k in ("code", "what", "where", "remedy")}, peer)

    def _end(self, origin: int, said: dict[str, Any], but: int) -> None:
        with self._news:
            if self._failure is not None:
                return
            self._failure = self._as_error(origin, said)
            self._news.notify_all()
        if self.rank.chief:
            self._tell_failure(origin, said, but)
        time.sleep(_GRACE_S)
        if not self._over:  # all may just be leaving, as agreed
            self._leave(self._failure)

    def _as_error(self, origin: int, said: dict[str, Any]) -> KfitError:
        where = str(said["where"])
        if origin >= 0:
            where = f"{self.rank.name(origin)}: {where}" if where else self.rank.name(origin)
        kind = _CLASSES.get(int(said["code"]), ModelCodeError)
        return kind(str(said["what"]), where=where, remedy=str(said["remedy"]))


def _to_tell(error: BaseException) -> KfitError:
    if isinstance(error, KfitError):
        return error
    if isinstance(error, KeyboardInterrupt):
        return Preempted("interrupted", remedy="start the same run again and it goes on from the newest checkpoint")
    return ModelCodeError(f"{type(error).__name__}: {error}")


def _of_a_collective(error: BaseException) -> bool:
    """Whether it may come of a lost peer: TensorFlow's errors of communication, by name."""
    names = {"UnavailableError", "AbortedError", "CancelledError", "DeadlineExceededError", "InternalError"}
    names |= {"FailedPreconditionError", "UnknownError"}
    at: BaseException | None = error
    while at is not None:
        if type(at).__name__ in names:
            return True
        at = at.__cause__
    return False

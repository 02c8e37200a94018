"""What the workers of a run decide together between steps, and how the run ends for all of them.

Workers have a connection each to worker 0 beside TensorFlow's own. TensorFlow waits in a collective for a lost
worker, or aborts; neither ends with an exit code or a message, so `trainer.workers.membership` watches instead.
"""

from __future__ import annotations

import time
from typing import Any

from trainer.errors import KfitError, ModelCodeError, Preempted
from trainer.workers.membership import Membership, Phase
from trainer.workers.peer_link import HEARTBEAT_S
from trainer.workers.rank import ALONE
from trainer.workers.step_decision import StepDecision, StepPace
from trainer.workers.transport import Message

#: TensorFlow's errors of communication, by name: they may follow from a lost worker.
_ERRORS_OF_COLLECTIVES = {
    "UnavailableError",
    "AbortedError",
    "CancelledError",
    "DeadlineExceededError",
    "InternalError",
    "FailedPreconditionError",
    "UnknownError",
}


class SingleWorker:
    """The coordinator of a run of one worker, which has nobody to wait for."""

    rank = ALONE
    chief_knows_error = True

    def decide_step(self, *, stop: str, save: bool, force: bool = False) -> StepDecision:
        """Returns this worker's own wish."""
        return StepDecision(stop, save)

    def gather(self, body: bytes) -> list[bytes]:
        """Returns the value of the only worker."""
        return [body]

    def broadcast_json(self, value: Any = None) -> Any:
        """Returns the value unchanged; a single worker has nobody to broadcast to."""
        return value

    def broadcast_bytes(self, body: bytes = b"") -> bytes:
        """Returns the bytes unchanged; a single worker has nobody to broadcast to."""
        return body

    def fail(self, error: BaseException) -> BaseException:
        """Returns the error unchanged."""
        return error

    def training_done(self) -> None:
        """Does nothing."""

    def begin_shutdown(self) -> None:
        """Does nothing."""

    def finish(self, result: Any) -> Any:
        """Returns the result unchanged."""
        return result

    def close(self) -> None:
        """Does nothing."""


class Coordinator:
    """One worker's side of a run of several, once they are connected (`trainer.workers.rendezvous`).

    All workers call `gather`, `broadcast_json`, `broadcast_bytes` and `decide_step` in the same order.

    Args:
        members: The other workers.
    """

    def __init__(self, members: Membership) -> None:
        self.rank = members.rank
        self._members = members
        self._pace = StepPace(time.monotonic)

    @property
    def chief_knows_error(self) -> bool:
        """Whether worker 0 has the error that ended the run, and shows it."""
        return self._members.chief_knows_error

    # --- together ----------------------------------------------------------------------------------

    def gather(self, body: bytes) -> list[bytes]:
        """Brings bytes of every worker to worker 0.

        Returns:
            On worker 0 those of all workers, by index; on the others nothing.

        Raises:
            KfitError: A worker failed or was lost.
        """
        if not self.rank.chief:
            self._members.send([0], "gather", body)
            return []
        return [body, *(self._members.receive(peer, "gather")[1] for peer in self._members.peers)]

    def broadcast_json(self, value: Any = None) -> Any:
        """Returns worker 0's JSON value on every worker; what the others give does not count.

        Raises:
            KfitError: A worker failed or was lost.
        """
        return self._broadcast("json", value=value)[0]["value"]

    def broadcast_bytes(self, body: bytes = b"") -> bytes:
        """Returns worker 0's bytes on every worker; what the others give does not count.

        Raises:
            KfitError: A worker failed or was lost.
        """
        return self._broadcast("bytes", body)[1]

    def _broadcast(self, kind: str, body: bytes = b"", **values: Any) -> Message:
        """Returns worker 0's message on every worker."""
        if not self.rank.chief:
            return self._members.receive(0, kind)
        self._members.send(self._members.peers, kind, body, **values)
        return values, body

    def decide_step(self, *, stop: str, save: bool, force: bool = False) -> StepDecision:
        """Decides after a step whether all workers stop or save; the same decision on every worker.

        All workers call it after the same steps. Most calls cost nothing: the workers exchange messages a few
        times a second, after numbers of steps that worker 0 chooses by the pace so far.

        Args:
            stop: Why this worker was asked to stop; empty: it was not.
            save: Whether a checkpoint is due; only worker 0's counts.
            force: Decide now, whatever the number of steps. All workers or none force the same call.

        Raises:
            KfitError: A worker failed or was lost.
        """
        self._members.check()
        if not self._pace.due(force=force):
            return StepDecision("", False)
        reasons = self.gather(stop.encode())
        decision = None
        if self.rank.chief:
            decision = {"stop": self._first(reasons), "save": save, "steps": self._pace.propose(force=force)}
        decision = self.broadcast_json(decision)
        self._pace.decided(int(decision["steps"]))
        return StepDecision(str(decision["stop"]), bool(decision["save"]))

    def _first(self, reasons: list[bytes]) -> str:
        named = (f"{reason.decode()} to {self.rank.name(worker)}" for worker, reason in enumerate(reasons) if reason)
        return next(named, "")

    # --- the end -----------------------------------------------------------------------------------

    def fail(self, error: BaseException) -> BaseException:
        """Ends the run for all workers because of this one's error.

        Returns:
            The error that ended the run: another worker's, where that was first. (A collective with a lost worker
            fails with an error of TensorFlow's a moment before the loss is noticed.)
        """
        members = self._members
        if members.leaving:
            members.chief_knows_error = True
            return error
        if _of_a_collective(error):
            members.wait_for_failure(members.silence_s + HEARTBEAT_S)
        ours = _as_kfit_error(error)
        ended = members.fail(ours)
        return error if ended is ours else ended

    def training_done(self) -> None:
        """Worker 0 needs no other worker any more: from now on it ignores the loss or failure of others."""
        if self.rank.chief:
            self._members.enter(Phase.TRAINED)

    def begin_shutdown(self) -> None:
        """Begins a shutdown that all workers agreed on; later disconnects are expected and ignored."""
        self._members.enter(Phase.LEAVING)

    def finish(self, result: Any) -> Any:
        """Ends a run that is published: worker 0 sends its result, the others wait for it.

        Args:
            result: JSON of worker 0; the others give None.

        Returns:
            Worker 0's result.

        Raises:
            KfitError: Worker 0 failed or was lost before it had published.
        """
        if not self.rank.chief:
            return self._members.receive(0, "result")[0]["value"]
        self._members.send_result(result)
        return result

    def close(self) -> None:
        """Closes the connections to the other workers."""
        self._members.close()


def _as_kfit_error(error: BaseException) -> KfitError:
    if isinstance(error, KfitError):
        return error
    if isinstance(error, KeyboardInterrupt):
        return Preempted("interrupted", remedy="start the same run again and it goes on from the newest checkpoint")
    return ModelCodeError(f"{type(error).__name__}: {error}")


def _of_a_collective(error: BaseException) -> bool:
    at: BaseException | None = error
    while at is not None:
        if type(at).__name__ in _ERRORS_OF_COLLECTIVES:
            return True
        at = at.__cause__
    return False

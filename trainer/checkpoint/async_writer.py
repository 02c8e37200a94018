"""Commits snapshots in a thread beside the training, and notes failures."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from trainer.checkpoint.store import CheckpointStore, Snapshot
from trainer.errors import StorageError

#: A commit should leave this share of the grace period for the step under way and the last words.
_SHARE_OF_GRACE = 0.7
#: Between two tries of the last checkpoint; each try has the storage's own retries inside.
_BETWEEN_TRIES_S = 1.0


class AsyncWriter:
    """Commits snapshots in a thread, one at a time; a training step waits only for the copy, not for the upload.

    A commit that fails does not end the run: it is noted, with the age of the newest checkpoint, and the next
    snapshot is tried. `check` raises only where none has succeeded for `patience_s`, or where no later
    try can succeed.

    Args:
        store: Where checkpoints are written.
        note: Told one line for a person.
        committed: Called with the step of every checkpoint that was committed.
        resumed: The snapshot that the run goes on from, its newest checkpoint so far.
        patience_s: Seconds of failing commits after which the run ends.
        grace_s: Seconds between SIGTERM and SIGKILL; None where that is not known.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        store: CheckpointStore,
        note: Callable[[str], None],
        *,
        committed: Callable[[int], None] = lambda _: None,
        resumed: Snapshot | None = None,
        patience_s: float = 1800.0,
        grace_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._note, self._clock = store, note, clock
        self._patience_s, self._grace_s = patience_s, grace_s
        self._on_commit = committed
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None
        self._uncommitted: Snapshot | None = None
        self._committed_s = clock()
        self._warned = False
        self.upload_s = 0.0
        #: Step, bytes and seconds (None: an earlier process's) of the newest checkpoint.
        self.newest: dict[str, float | None] | None = _described(resumed, None) if resumed else None

    @property
    def busy(self) -> bool:
        """Whether a commit is in progress."""
        return self._thread is not None and self._thread.is_alive()

    def submit(self, snapshot: Snapshot) -> None:
        """Starts a commit; waits for the one in progress first."""
        self.join()
        self._uncommitted = snapshot
        self._thread = threading.Thread(target=self._commit, args=(snapshot,), name="kfit-checkpoint", daemon=True)
        self._thread.start()

    def _commit(self, snapshot: Snapshot) -> None:
        began = self._clock()
        try:
            self._store.commit(snapshot)
        except StorageError as error:
            self._error = error
            self._note(f"checkpoint of step {snapshot.step} was not committed: {error.what}; {self._age()}")
        except Exception as error:  # `check` raises it in the main thread
            self._error = error
        else:
            self._error = self._uncommitted = None
            self._committed_s = self._clock()
            took_s = self._committed_s - began
            self.newest = _described(snapshot, round(took_s, 3))
            self._on_commit(snapshot.step)
            self._compare_with_grace(took_s)
        finally:
            self.upload_s += self._clock() - began

    def _age(self) -> str:
        if self.newest is None:
            return "there is none yet"
        return f"the newest is of step {self.newest['step']:.0f}, {self._clock() - self._committed_s:.0f} s ago"

    def _compare_with_grace(self, took_s: float) -> None:
        if self._grace_s is not None and took_s > _SHARE_OF_GRACE * self._grace_s and not self._warned:
            self._warned = True
            self._note(
                f"warning: a checkpoint takes {took_s:.1f} s and the grace period is {self._grace_s:.0f} s; "
                f"raise terminationGracePeriodSeconds to {int(took_s * 2) + 10} or a preempted run loses its last steps"
            )

    def check(self) -> None:
        """Raises the error that must end the run, if there is one. Cheap enough to call after every step.

        Raises:
            Superseded: Another process has taken over the run.
            StorageError: Commits have failed for longer than `patience_s`, or for good.
        """
        error = self._error
        if error is None:
            return
        if isinstance(error, StorageError) and not error.permanent:
            if self._clock() - self._committed_s < self._patience_s:
                return
            raise StorageError(
                f"no checkpoint could be committed for {self._clock() - self._committed_s:.0f} s: {error.what}",
                where=error.where,
                remedy=error.remedy or "run.output.checkpoint.patience says how long to go on without",
            ) from error
        raise error

    def join(self, timeout_s: float | None = None) -> None:
        """Waits for the commit in progress, at most `timeout_s`; ignores its outcome."""
        if self._thread is not None:
            self._thread.join(timeout_s)
            if not self._thread.is_alive():
                self._thread = None

    def wait(self) -> None:
        """Waits for the commit in progress.

        Raises:
            Superseded: Another process has taken over the run.
            StorageError: The commit failed.
        """
        self.join()
        if self._error is not None:
            raise self._error

    def settle(self, give_up: Callable[[], bool]) -> None:
        """Waits until the last snapshot is committed; retries, since no later snapshot replaces it.

        Args:
            give_up: Called between two tries; returns whether to stop trying.

        Raises:
            Superseded: Another process has taken over the run.
            StorageError: Commits have failed for longer than `patience_s`.
        """
        self.join()
        while self._error is not None and self._uncommitted is not None and not give_up():
            self.check()
            time.sleep(_BETWEEN_TRIES_S)
            self.submit(self._uncommitted)
            self.join()


class NoWriter:
    """The writer of a worker that is not worker 0: worker 0 commits the same state, so every method does nothing."""

    busy = False
    upload_s = 0.0
    newest: dict[str, float | None] | None = None

    def submit(self, snapshot: Snapshot) -> None:
        """Does nothing."""

    def check(self) -> None:
        """Does nothing."""

    def join(self, timeout_s: float | None = None) -> None:
        """Does nothing."""

    def settle(self, give_up: Callable[[], bool]) -> None:
        """Does nothing."""

    def wait(self) -> None:
        """Does nothing."""


def _described(snapshot: Snapshot, commit_s: float | None) -> dict[str, float | None]:
    return {"step": snapshot.step, "size_bytes": snapshot.size_bytes, "commit_s": commit_s}

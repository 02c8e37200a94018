"""What can go wrong in a run, and the exit code each kind of fault ends with.

The table is code once: the chart's podFailurePolicy, `kfit wait` and the docs are checked against
`EXIT_CODES`, so a code can never mean one thing in a pod and another on a command line.

Exception
└── KfitError            carries what, where and the remedy; printed as one message, never a traceback
    ├── ConfigError      64  the job file or the command line is wrong
    ├── DataError        65  the data breaks its contract
    │   └── NotFiniteError   the loss, or a feature of a batch, is NaN or infinite
    ├── StorageError     69  storage is out of reach, or says no
    ├── ModelCodeError   70  the user's model code, or this program, is at fault
    ├── Stalled          71  no step is finished any more
    ├── Preempted        75  asked to stop; a checkpoint is committed
    └── PeerLost         76  another worker of the run is gone
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, Literal


class ExitCode(IntEnum):
    """The process's exit codes (BSD sysexits where one fits)."""

    DONE = 0
    CONFIG = 64
    DATA = 65
    STORAGE = 69
    PROGRAM = 70
    STALLED = 71
    PREEMPTED = 75
    PEER_LOST = 76


PodFailureAction = Literal["FailJob", "Count", "Ignore"]


@dataclass(frozen=True)
class ExitMeaning:
    """One row of the exit-code table.

    Attributes:
        code: The process's exit code.
        meaning: One line for a person.
        policy: What the Job's podFailurePolicy does with it; None where the pod succeeded.
        final: Whether `kfit wait` returns the code (True) or goes on waiting (False).
    """

    code: ExitCode
    meaning: str
    policy: PodFailureAction | None
    final: bool


EXIT_CODES: tuple[ExitMeaning, ...] = (
    ExitMeaning(ExitCode.DONE, "done (or nothing to do: result.json says which)", None, True),
    ExitMeaning(ExitCode.CONFIG, "configuration is wrong", "FailJob", True),
    ExitMeaning(ExitCode.DATA, "data breaks its contract", "FailJob", True),
    ExitMeaning(ExitCode.STORAGE, "storage out of reach after retries", "Count", True),
    ExitMeaning(ExitCode.PROGRAM, "a fault of the program or of the user's model code", "Count", True),
    ExitMeaning(ExitCode.STALLED, "no step was finished for run.fit.stall", "Count", True),
    ExitMeaning(ExitCode.PREEMPTED, "preempted; a checkpoint is committed", "Ignore", False),
    ExitMeaning(ExitCode.PEER_LOST, "a peer worker was lost", "Ignore", False),
)


class KfitError(Exception):
    """A fault that a person can act on.

    Args:
        what: What is wrong, with the value, e.g. `batch_size 30 does not divide among 4 replicas`.
        where: The place: a key of the job file, a shard's URI, a column.
        remedy: How to fix it, as an instruction.

    Attributes:
        told: Whether a person reads it from another process of the same terminal.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.PROGRAM

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.remedy = remedy
        self.told = False

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        return f"{head}\n  {self.remedy}" if self.remedy else head


class ConfigError(KfitError):
    """The job file or the command line is wrong."""

    exit_code = ExitCode.CONFIG


class DataError(KfitError):
    """The data breaks its contract: missing column, wrong type, unreadable shard, empty set."""

    exit_code = ExitCode.DATA


class NotFiniteError(DataError):
    """The loss, or a feature of a batch, is NaN or infinite."""


class StorageError(KfitError):
    """Storage is out of reach after retries, or refuses.

    Attributes:
        permanent: Whether a later try cannot succeed either, since the path itself is at fault.
    """

    exit_code = ExitCode.STORAGE
    permanent = False


class ModelCodeError(KfitError):
    """The user's model code raised, or returned what cannot be trained."""

    exit_code = ExitCode.PROGRAM


class Stalled(KfitError):
    """No step is finished any more: the model's code waits for ever, or the device hangs."""

    exit_code = ExitCode.STALLED


class Preempted(KfitError):
    """The run was asked to stop and has committed a checkpoint."""

    exit_code = ExitCode.PREEMPTED


class PeerLost(KfitError):
    """Another worker of the same run is gone; all leave and start again."""

    exit_code = ExitCode.PEER_LOST

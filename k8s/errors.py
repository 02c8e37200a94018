"""What can go wrong between the launcher and a cluster, and the exit codes that only a command line has.

KfitError
├── ClusterError        69  the API server is out of reach, or at fault
├── AccessError         64  which cluster, who asks, or what they may do is not in order
├── RefusedError        64  the API server, or this launcher, refuses what was asked
│   └── Conflict            somebody changed the object in between
├── AlreadyExists       64  an object of that name is there
└── NotFound             3  there is no such object
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, ClassVar

from trainer.errors import ExitCode, KfitError


class WaitCode(IntEnum):
    """What a command that waits returns beside the trainer's own codes."""

    NOT_FOUND = 3
    CANCELLED = 4
    NEVER_STARTED = 5
    TIMED_OUT = 124
    INTERRUPTED = 130


class ClusterError(KfitError):
    """The API server is out of reach after retries, or answers with a fault of its own."""

    exit_code = ExitCode.STORAGE


class AccessError(KfitError):
    """Context, credentials or rights are not in order."""

    exit_code = ExitCode.CONFIG


class RefusedError(KfitError):
    """What was asked is refused: invalid, forbidden by a policy, or somebody else's."""

    exit_code = ExitCode.CONFIG


class Conflict(RefusedError):
    """The object was changed by somebody else in between."""


class AlreadyExists(KfitError):
    """An object of that name is there."""

    exit_code = ExitCode.CONFIG


class NotFound(KfitError):
    """There is no such object."""

    # A code of the launcher, which is no member of the trainer's table.
    exit_code: ClassVar[Any] = WaitCode.NOT_FOUND

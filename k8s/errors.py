"""What can go wrong between the launcher and a cluster, and the exit codes that only a command line has.

KfitError
├── ClusterError        69  the API server is unreachable, or failing
├── AccessError         64  context, credentials or rights are wrong
├── RefusedError        64  the API server, or this launcher, refuses the request
│   └── Conflict            somebody else changed the object meanwhile
├── AlreadyExists       64  an object of that name exists
└── NotFound             3  there is no such object
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, ClassVar

from trainer.errors import ExitCode, KfitError


class WaitCode(IntEnum):
    """Exit codes of a command that waits, beside the trainer's own."""

    NOT_FOUND = 3
    CANCELLED = 4
    NEVER_STARTED = 5
    TIMED_OUT = 124
    INTERRUPTED = 130


class ClusterError(KfitError):
    """The API server is unreachable after retries, or answers with an error of its own."""

    exit_code = ExitCode.STORAGE


class AccessError(KfitError):
    """The context, the credentials or the rights are wrong."""

    exit_code = ExitCode.CONFIG


class RefusedError(KfitError):
    """The request is refused: it is invalid, a policy forbids it, or the object is somebody else's."""

    exit_code = ExitCode.CONFIG


class Conflict(RefusedError):
    """Somebody else changed the object meanwhile."""


class AlreadyExists(KfitError):
    """An object of that name exists already."""

    exit_code = ExitCode.CONFIG


class NotFound(KfitError):
    """There is no such object."""

    # A code of the launcher, which is no member of the trainer's table.
    exit_code: ClassVar[Any] = WaitCode.NOT_FOUND

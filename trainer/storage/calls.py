"""One deadline, retries and translation for every call into a store.

Whatever fsspec, botocore and the operating system raise ends here as a `StorageError` that a person can
act on; what may pass by itself is tried again until the deadline.
"""

from __future__ import annotations

import errno
import os
import random
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from trainer.errors import KfitError, StorageError

T = TypeVar("T")

#: One deadline for an operation with all its retries; a pod that should rather fail early sets it lower.
DEADLINE_S = float(os.environ.get("KFIT_STORAGE_DEADLINE_S", "60"))
#: A request that brings nothing for so long is cut and made anew; slower than `SLOWEST_BYTES_S` counts as nothing.
STALL_S = float(os.environ.get("KFIT_STORAGE_STALL_S", "10"))
SLOWEST_BYTES_S = 1024**2
#: No try will ever do: the path itself is wrong. With what corrects it.
_IMPOSSIBLE = {
    errno.ENOTDIR: "the path leads through a file; correct it",
    errno.EISDIR: "a folder stands where an object is meant; correct the path",
    errno.ENAMETOOLONG: "use a shorter path",
    errno.ELOOP: "a symbolic link leads back to itself; correct the path",
}
#: No try does until somebody acts: no space, read-only, quota, not supported there.
_NO_ROOM = frozenset({errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EFBIG, errno.EINVAL, errno.EOPNOTSUPP})
#: Error codes of S3 that say the request itself is wrong.
_REFUSED_CODES = frozenset(
    {"InvalidBucketName", "KeyTooLongError", "InvalidURI", "InvalidArgument", "InvalidRequest", "MethodNotAllowed"}
    | {"NotImplemented", "EntityTooLarge", "InvalidObjectState", "PermanentRedirect", "AuthorizationHeaderMalformed"}
    | {"AllAccessDisabled", "AccountProblem", "InvalidRange", "MalformedXML", "QuotaExceeded"}
)
_FIRST_BACKOFF_S = 0.2
_LONGEST_BACKOFF_S = 8.0


class NotFound(StorageError):
    """There is no object, folder or bucket of that name."""


class AlreadyExists(StorageError):
    """A create-only write met an object that is already there."""


class Changed(StorageError):
    """The object is another version by now than the one that was read or asked for."""


def call(verb: str, uri: str, operation: Callable[[], T], deadline_s: float = DEADLINE_S) -> T:
    """Runs an operation, retries what may pass by itself, and translates what does not."""
    ends = time.monotonic() + deadline_s
    for backoff_s in _backoffs():
        try:
            return operation()
        except KfitError:
            raise
        except Exception as error:
            refused = translate(verb, uri, error)
            if refused is not None:
                raise refused from error
            if time.monotonic() + backoff_s > ends:
                raise StorageError(
                    f"cannot {verb} after {deadline_s:.0f} s of retries: {_first_line(error)}",
                    where=uri,
                    remedy="check that the endpoint answers (AWS_ENDPOINT_URL) and the network policy allows it",
                ) from error
            time.sleep(backoff_s)
    raise AssertionError("the backoffs never end")


# Not the module's own generator: initial weights are drawn from that one, while the feed already reads.
_jitter = random.Random()


def _backoffs() -> Iterator[float]:
    backoff_s = _FIRST_BACKOFF_S
    while True:
        yield backoff_s * _jitter.uniform(0.5, 1.5)
        backoff_s = min(backoff_s * 2, _LONGEST_BACKOFF_S)


def translate(verb: str, uri: str, error: Exception) -> StorageError | None:
    """The error a person sees, or None where another try may help."""
    code = _code(error) or _code(error.__cause__)
    text = _first_line(error)
    if isinstance(error, FileExistsError) or code in ("PreconditionFailed", "412", "ConditionalRequestConflict"):
        return AlreadyExists("is already there", where=uri)
    if isinstance(error, OSError) and error.errno in _IMPOSSIBLE:
        refused = StorageError(f"cannot {verb}: {text}", where=uri, remedy=_IMPOSSIBLE[error.errno])
        refused.permanent = True
        return refused
    if isinstance(error, FileNotFoundError) or code in ("NoSuchKey", "NoSuchBucket", "404"):
        return NotFound(
            "no such bucket" if "bucket" in text.lower() or code == "NoSuchBucket" else "no such path",
            where=uri,
            remedy="check the path, its bucket and its spelling",
        )
    if code in ("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken") or (
        type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError", "TokenRetrievalError")
    ):
        return StorageError(
            f"the store refuses the credentials: {text}",
            where=uri,
            remedy="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or use a service account",
        )
    if isinstance(error, PermissionError) or code in ("AccessDenied", "403", "Forbidden"):
        return StorageError(
            f"no permission to {verb}: {text}",
            where=uri,
            remedy="grant it, or run under a service account that has it; a bare 403 may also mean wrong credentials",
        )
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return StorageError(f"cannot {verb}: {text}", where=uri, remedy="make room, or write somewhere else")
    if _passes_by_itself(error, code):
        return None
    return StorageError(f"cannot {verb}: {type(error).__name__}: {text}", where=uri)


def _passes_by_itself(error: Exception, code: str) -> bool:
    """Whether another try may help: connections, time-outs, throttling and faults of the server."""
    if code.isdigit() and 400 <= int(code) < 500:
        return code in ("408", "409", "425", "429")
    if code in _REFUSED_CODES or type(error).__name__ in ("ParamValidationError", "InvalidRegionError"):
        return False
    return isinstance(error, OSError | TimeoutError) or _transient(error)


def _code(error: BaseException | None) -> str:
    """The error code that an exception of botocore, gcsfs or azure carries, "" for any other."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return str(response.get("Error", {}).get("Code", ""))
    return str(getattr(error, "status_code", None) or getattr(error, "code", None) or "")


def _transient(error: Exception) -> bool:
    module = type(error).__module__.partition(".")[0]
    return module in (
        "aiohttp",
        "botocore",
        "aiobotocore",
        "urllib3",
        "requests",
        "google",
        "azure",
        "asyncio",
        "fsspec",
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]

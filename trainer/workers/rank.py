"""Which worker of a run this process is, and where the others are: plain values, read from the environment once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from trainer.errors import ConfigError

#: TensorFlow's own port in a pod; worker 0 listens for the others at the next one.
GRPC_PORT = 2222
MEETING_PORT = 2223


@dataclass(frozen=True)
class Rank:
    """One worker of a run.

    Attributes:
        index: From 0; worker 0 is the chief, which alone writes.
        workers: How many there are.
        hosts: Name or address of each, in order.
        meeting_port: Where worker 0 waits for the others.
        grpc_port: TensorFlow's port; 0: any free one (workers of one machine share its ports).
        secret: What the workers of this run know and nobody else on the network does.
        min_workers: The fewest with which the run begins where the others do not come; 0: it needs all.
    """

    index: int
    workers: int
    hosts: tuple[str, ...]
    meeting_port: int
    grpc_port: int
    secret: bytes = field(repr=False)
    min_workers: int = 0

    @property
    def chief(self) -> bool:
        """Whether this worker writes."""
        return self.index == 0

    @property
    def local(self) -> bool:
        """Whether all workers are processes of this machine, and share its terminal."""
        return self.grpc_port == 0

    def of_fewer(self, workers: int) -> Rank:
        """Returns the same worker's rank in a run that begins with only the first so many workers."""
        return replace(self, workers=workers, min_workers=0, hosts=self.hosts[:workers])

    def name(self, index: int) -> str:
        """Names a worker for a person: worker 1 (job-1)."""
        return f"worker {index}" if self.local else f"worker {index} ({self.hosts[index].partition('.')[0]})"


ALONE = Rank(0, 1, ("127.0.0.1",), 0, 0, b"")


def rank_from(environ: Mapping[str, str]) -> Rank:
    """Reads the rank of this process.

    Args:
        environ: KFIT_NODES is the number of workers, KFIT_MIN_NODES the fewest to begin with (default: all),
            JOB_COMPLETION_INDEX is this one's. Pods of an Indexed Job find
            each other as `<KFIT_JOB>-<index>.<KFIT_SERVICE>` and share KFIT_JOB_UID; processes of one machine
            find each other by KFIT_MEETING_PORT and share KFIT_WORKERS_SECRET.

    Returns:
        The rank; `ALONE` for a run of one worker.

    Raises:
        ConfigError: A variable is missing or not a number.
    """
    workers = _number(environ, "KFIT_NODES", "1")
    if workers == 1:
        return ALONE
    index = _number(environ, "JOB_COMPLETION_INDEX", "")
    fewest = _number(environ, "KFIT_MIN_NODES", str(workers))
    if workers < 1 or not 0 <= index < workers:
        raise ConfigError(
            f"JOB_COMPLETION_INDEX {index} is not below KFIT_NODES {workers}",
            where="environment",
            remedy="completions and parallelism of the Indexed Job must equal nodes",
        )
    if not 1 <= fewest <= workers:
        raise ConfigError(
            f"KFIT_MIN_NODES {fewest} is not between 1 and KFIT_NODES {workers}",
            where="environment",
            remedy="minNodes of the job file sets it",
        )
    if environ.get("KFIT_MEETING_PORT"):
        secret = _text(environ, "KFIT_WORKERS_SECRET", "so the workers cannot recognise each other")
        port = _number(environ, "KFIT_MEETING_PORT", "")
        return Rank(index, workers, ("127.0.0.1",) * workers, port, 0, secret.encode(), fewest)
    job = _text(environ, "KFIT_JOB", "so the other workers cannot be found")
    service = _text(environ, "KFIT_SERVICE", "so the other workers cannot be found")
    uid = _text(environ, "KFIT_JOB_UID", "so the workers cannot recognise each other")
    hosts = tuple(f"{job}-{at}.{service}" for at in range(workers))
    return Rank(index, workers, hosts, MEETING_PORT, GRPC_PORT, uid.encode(), fewest)


def _text(environ: Mapping[str, str], name: str, consequence: str) -> str:
    value = environ.get(name)
    if not value:
        raise ConfigError(
            f"{name} is not set, {consequence}",
            where="environment",
            remedy="use the chart of this version, which sets it; on one machine use trainer fit --workers",
        )
    return value


def _number(environ: Mapping[str, str], name: str, default: str) -> int:
    text = environ.get(name) or default
    try:
        return int(text)
    except ValueError:
        raise ConfigError(
            f"{name} is {text!r}, not a number", where="environment", remedy="the chart sets it"
        ) from None

"""Which worker of a run this process is, and where the others are: plain values, read from the environment once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from trainer.errors import ConfigError

#: TensorFlow's own port in a pod; where workers meet is the next one.
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
    """

    index: int
    workers: int
    hosts: tuple[str, ...]
    meeting_port: int
    grpc_port: int

    @property
    def chief(self) -> bool:
        """Whether this worker writes."""
        return self.index == 0

    @property
    def local(self) -> bool:
        """Whether all workers are processes of this machine, and share its terminal."""
        return self.grpc_port == 0

    def name(self, index: int) -> str:
        """A worker as a person looks for it: worker 1 (job-1)."""
        return f"worker {index}" if self.local else f"worker {index} ({self.hosts[index].partition('.')[0]})"


ALONE = Rank(0, 1, ("127.0.0.1",), 0, 0)


def rank_from(environ: Mapping[str, str]) -> Rank:
    """The rank of this process.

    Args:
        environ: KFIT_NODES workers; JOB_COMPLETION_INDEX is this one. Pods of an Indexed Job find each other as
            `<KFIT_JOB>-<index>.<KFIT_SERVICE>`; processes of one machine by KFIT_MEETING_PORT.

    Raises:
        ConfigError: Something is missing or no number.
    """
    workers = _number(environ, "KFIT_NODES", "1")
    if workers == 1:
        return ALONE
    index = _number(environ, "JOB_COMPLETION_INDEX", "")
    if workers < 1 or not 0 <= index < workers:
        raise ConfigError(
            f"JOB_COMPLETION_INDEX {index} is not below KFIT_NODES {workers}",
            where="environment",
            remedy="completions and parallelism of the Indexed Job must equal nodes",
        )
    if environ.get("KFIT_MEETING_PORT"):
        return Rank(index, workers, ("127.0.0.1",) * workers, _number(environ, "KFIT_MEETING_PORT", ""), 0)
    job, service = (environ.get(name) for name in ("KFIT_JOB", "KFIT_SERVICE"))
    if not job or not service:
        raise ConfigError(
            f"{'KFIT_SERVICE' if job else 'KFIT_JOB'} is not set, so the other workers cannot be found",
            where="environment",
            remedy="use the chart, which sets both; on one machine use trainer fit --workers",
        )
    hosts = tuple(f"{job}-{at}.{service}" for at in range(workers))
    return Rank(index, workers, hosts, MEETING_PORT, GRPC_PORT)


def _number(environ: Mapping[str, str], name: str, default: str) -> int:
    text = environ.get(name) or default
    try:
        return int(text)
    except ValueError:
        raise ConfigError(
            f"{name} is {text!r}, not a number", where="environment", remedy="the chart sets it"
        ) from None

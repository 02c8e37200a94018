"""Trainings that take turns of seconds, each alone while the others are stopped (SIGSTOP).

A machine's speed wanders by a tenth within minutes, far more than what is to be shown. Turns of seconds meet all
sides with the same moods; what a side has decoded ahead stays its own, since it is stopped as a whole.
"""

from __future__ import annotations

import mmap
import os
import signal
import statistics
import struct
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_FORMAT = struct.Struct("<qd")


class Teller:
    """Writes how far a training is where another process reads it."""

    def __init__(self, file: Path) -> None:
        file.write_bytes(bytes(_FORMAT.size))
        with file.open("r+b") as opened:
            self._memory = mmap.mmap(opened.fileno(), _FORMAT.size)

    def __call__(self, steps: int, wait_s: float) -> None:
        """Steps done, and seconds that they waited for data."""
        _FORMAT.pack_into(self._memory, 0, steps, wait_s)


@dataclass
class Runner:
    """One training.

    Attributes:
        name: How it is called. told: where it tells how far it is.
        begin: Starts it.
        servers: Processes that only work for it, on this machine for want of another.
        steps, seconds, waited: Of each of its turns.
        cpu_s, servers_cpu_s: Processor time of each of its turns, its own and its servers'.
    """

    name: str
    told: Path
    begin: Callable[[], subprocess.Popen[bytes]]
    servers: Sequence[int] = ()
    process: subprocess.Popen[bytes] | None = None
    steps: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    servers_cpu_s: list[float] = field(default_factory=list)

    @property
    def steps_per_s(self) -> float:
        """Over all turns."""
        return sum(self.steps) / sum(self.seconds)

    @property
    def cpu_s_per_step(self) -> float:
        """Over all turns."""
        return sum(self.cpu_s) / sum(self.steps)

    @property
    def servers_cores(self) -> float:
        """Processors that its servers keep busy, on average."""
        return sum(self.servers_cpu_s) / sum(self.seconds)

    @property
    def wait_share(self) -> float:
        """Share of the time in which it waited for data: the middle turn's; one stopped in a wait looks endless."""
        return statistics.median(w / s for w, s in zip(self.waited, self.seconds, strict=True))

    def start(self, warm_steps: int, timeout_s: float = 300.0) -> None:
        """Starts it, and stops it after some steps."""
        self.process = self.begin()
        until_s = time.monotonic() + timeout_s
        while self._told()[0] < warm_steps:
            if self.process.poll() is not None or time.monotonic() > until_s:
                raise RuntimeError(f"{self.name} did not come to train")
            time.sleep(0.1)
        self._signal(signal.SIGSTOP)

    def turn(self, seconds: float) -> None:
        """Lets it run for a while."""
        assert self.process is not None
        steps, waited = self._told()
        cpu_s, servers_cpu_s = cpu_seconds(self.process.pid), sum(map(cpu_seconds, self.servers))
        began = time.monotonic()
        self._signal(signal.SIGCONT)
        time.sleep(seconds)
        self._signal(signal.SIGSTOP)
        self.seconds.append(time.monotonic() - began)
        after, waited_after = self._told()
        self.steps.append(after - steps)
        self.waited.append(waited_after - waited)
        self.cpu_s.append(cpu_seconds(self.process.pid) - cpu_s)
        self.servers_cpu_s.append(sum(map(cpu_seconds, self.servers)) - servers_cpu_s)

    def end(self) -> None:
        """Kills it."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def _signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        os.kill(self.process.pid, number)

    def _told(self) -> tuple[int, float]:
        try:
            return _FORMAT.unpack(self.told.read_bytes())  # type: ignore[return-value]
        except (OSError, struct.error):
            return 0, 0.0


def cpu_seconds(process: int) -> float:
    """Processor time that a process has had so far."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def take_turns(runners: Sequence[Runner], *, turns: int, seconds: float, warm_steps: int) -> None:
    """Lets trainings run by turns; which is first changes every time."""
    try:
        for runner in runners:
            runner.start(warm_steps)
        for turn in range(turns):
            at = turn % len(runners)
            for runner in (*runners[at:], *runners[:at]):
                runner.turn(seconds)
    finally:
        for runner in runners:
            runner.end()

"""Runs several trainings in turns of seconds, each alone while the others are stopped (SIGSTOP).

A machine's speed drifts by a tenth within minutes, far more than the difference to measure. With turns of seconds all
trainings see the same drift. A stopped training keeps what it has decoded ahead, since the whole process is stopped.
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

from benchmarks.timing import cpu_seconds

_FORMAT = struct.Struct("<qd")


class StepReporter:
    """Writes the progress of a training to a memory-mapped file that another process reads."""

    def __init__(self, file: Path) -> None:
        file.write_bytes(bytes(_FORMAT.size))
        with file.open("r+b") as opened:
            self._memory = mmap.mmap(opened.fileno(), _FORMAT.size)

    def __call__(self, steps: int, wait_s: float) -> None:
        """Records the steps done and the seconds that they waited for data."""
        _FORMAT.pack_into(self._memory, 0, steps, wait_s)


@dataclass
class Runner:
    """One training.

    Attributes:
        name: Name in the table.
        progress_file: File that its `StepReporter` writes.
        begin: Starts the process.
        servers: Ids of processes on this machine that serve only this training.
        steps, seconds, waited: Steps, duration and seconds of waiting for data of each turn.
        cpu_s, servers_cpu_s: Processor seconds of each turn, of the training and of its servers.
    """

    name: str
    progress_file: Path
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
        """Average over all turns."""
        return sum(self.steps) / sum(self.seconds)

    @property
    def cpu_s_per_step(self) -> float:
        """Average over all turns."""
        return sum(self.cpu_s) / sum(self.steps)

    @property
    def servers_cores(self) -> float:
        """Average number of cores that its servers keep busy."""
        return sum(self.servers_cpu_s) / sum(self.seconds)

    @property
    def wait_share(self) -> float:
        """Median share of a turn spent waiting for data; a mean would count a turn that was stopped in a wait."""
        return statistics.median(w / s for w, s in zip(self.waited, self.seconds, strict=True))

    def start(self, warm_steps: int, timeout_s: float = 300.0) -> None:
        """Starts the process and stops it after `warm_steps` steps.

        Raises:
            RuntimeError: It ended, or did not get so far within `timeout_s`.
        """
        self.process = self.begin()
        until_s = time.monotonic() + timeout_s
        while self._progress()[0] < warm_steps:
            if self.process.poll() is not None or time.monotonic() > until_s:
                raise RuntimeError(f"{self.name} did not start to train")
            time.sleep(0.1)
        self._signal(signal.SIGSTOP)

    def turn(self, seconds: float) -> None:
        """Continues the process for `seconds` and records the turn."""
        assert self.process is not None
        steps, waited = self._progress()
        cpu_s, servers_cpu_s = cpu_seconds(self.process.pid), sum(map(cpu_seconds, self.servers))
        began = time.monotonic()
        self._signal(signal.SIGCONT)
        time.sleep(seconds)
        self._signal(signal.SIGSTOP)
        self.seconds.append(time.monotonic() - began)
        after, waited_after = self._progress()
        self.steps.append(after - steps)
        self.waited.append(waited_after - waited)
        self.cpu_s.append(cpu_seconds(self.process.pid) - cpu_s)
        self.servers_cpu_s.append(sum(map(cpu_seconds, self.servers)) - servers_cpu_s)

    def end(self) -> None:
        """Kills the process."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def _signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        os.kill(self.process.pid, number)

    def _progress(self) -> tuple[int, float]:
        try:
            return _FORMAT.unpack(self.progress_file.read_bytes())  # type: ignore[return-value]
        except (OSError, struct.error):
            return 0, 0.0


def take_turns(runners: Sequence[Runner], *, turns: int, seconds: float, warm_steps: int) -> None:
    """Runs the trainings in turns, rotating which one goes first, and kills them at the end."""
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

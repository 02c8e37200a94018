"""Runs one side of the benchmark in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console

from benchmarks.feed.sets import SetShape, write
from benchmarks.timing import measured

PEERS = {
    "ray": ("ray", "ray[data] tensorflow"),
    "hugging_face": ("datasets", "datasets tensorflow"),
    "petastorm": ("petastorm", "petastorm 'pyarrow<15' 'numpy<2' tensorflow"),
}


@dataclass(frozen=True)
class Bench:
    """Settings of the benchmark, and how a side is started.

    Attributes:
        folder: Where datasets and caches are.
        repeats: Turns that each side takes.
        seconds: Longest measurement of a side.
        peers: Interpreter that has the peers' packages.
        console: Where results are printed.
    """

    folder: Path
    repeats: int
    seconds: float
    peers: str
    console: Console

    def run(self, side: str, shape: SetShape, batch_size: int = 1024) -> dict[str, float] | None:
        """Runs a side in a process of its own. Returns its measurements; None, after printing why, if it failed."""
        figures: dict[str, float] | str = measured(self._command(side, shape, batch_size), self._environment())
        if isinstance(figures, str):
            self.console.print(f"{side} on {shape.name} failed: {figures[-400:]}", style="red")
            return None
        return figures

    def begin(
        self, side: str, shape: SetShape, batch_size: int, *, environ: Mapping[str, str], **more: str | int
    ) -> subprocess.Popen[bytes]:
        """Starts a side that runs until it is killed; `more` sets further fields of its `Task`."""
        command = self._command(side, shape, batch_size, **more)
        return subprocess.Popen(command, env=self._environment() | environ, stderr=subprocess.DEVNULL)

    def _command(self, side: str, shape: SetShape, batch_size: int, **more: str | int) -> list[str]:
        task = {"side": side, "shape": asdict(shape), "folder": str(write(shape, self.folder))}
        task |= {"cache": str(self.folder / "cache"), "batch_size": batch_size, "seconds": self.seconds, **more}
        return [self.peers if side in PEERS else sys.executable, "-m", "benchmarks.feed.side", json.dumps(task)]

    def _environment(self) -> dict[str, str]:
        return os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}

    def rate(self, side: str, shape: SetShape, batch_size: int = 1024) -> float | None:
        """Returns rows per second; None if the side failed."""
        figures = self.run(side, shape, batch_size)
        return figures["rows"] / figures["seconds"] if figures else None

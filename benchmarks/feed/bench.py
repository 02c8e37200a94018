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

PEERS = {
    "ray": ("ray", "ray[data] tensorflow"),
    "hugging_face": ("datasets", "datasets tensorflow"),
    "petastorm": ("petastorm", "petastorm 'pyarrow<15' 'numpy<2' tensorflow"),
}


@dataclass(frozen=True)
class Bench:
    """Where things are, and how long they may take."""

    folder: Path
    repeats: int
    seconds: float
    peers: str
    console: Console

    def run(self, side: str, shape: SetShape, batch_size: int = 1024) -> dict[str, float] | None:
        """One side in a process of its own; None where it failed, which is said."""
        command = self._command(side, shape, batch_size)
        done = subprocess.run(command, capture_output=True, text=True, env=self._environment(), check=False)
        line = next((line for line in done.stdout.splitlines() if line.startswith("MEASURED ")), None)
        if line is None:
            self.console.print(f"{side} on {shape.name} failed: {done.stderr.strip()[-400:]}", style="red")
            return None
        found: dict[str, float] = json.loads(line.removeprefix("MEASURED "))
        return found

    def begin(
        self, side: str, shape: SetShape, batch_size: int, *, environ: Mapping[str, str], **more: str | int
    ) -> subprocess.Popen[bytes]:
        """A side that runs until it is killed; `more` goes into its `Task`."""
        command = self._command(side, shape, batch_size, **more)
        return subprocess.Popen(command, env=self._environment() | environ, stderr=subprocess.DEVNULL)

    def _command(self, side: str, shape: SetShape, batch_size: int, **more: str | int) -> list[str]:
        task = {"side": side, "shape": asdict(shape), "folder": str(write(shape, self.folder))}
        task |= {"cache": str(self.folder / "cache"), "batch_size": batch_size, "seconds": self.seconds, **more}
        return [self.peers if side in PEERS else sys.executable, "-m", "benchmarks.feed.side", json.dumps(task)]

    def _environment(self) -> dict[str, str]:
        return os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}

    def rate(self, side: str, shape: SetShape, batch_size: int = 1024) -> float | None:
        """Rows per second."""
        found = self.run(side, shape, batch_size)
        return found["rows"] / found["seconds"] if found else None

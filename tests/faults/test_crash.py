"""A sample of the crash matrix; `make crash-matrix` runs all of it."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(("store", "devices"), [("local", 1), ("s3", 2)])
def test_a_run_that_is_killed_anywhere_ends_as_if_it_had_not_been(store: str, devices: int, tmp_path: Path) -> None:
    """In a process of its own: it forks after TensorFlow's import, which a test runner's threads forbid."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.faults.crash_matrix", "--stores", store, "--devices", str(devices)),
            *("--kills", "6", "--stops", "3", "--operations", "4", "--seed", "11"),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    deaths, _, differences = done.stdout.splitlines()[-1].partition(" ")
    assert differences == "deaths, 0 differences"
    # Six kills, three stops, four operations and each commit: five, or fewer where an upload outlasts the next.
    assert int(deaths) >= 6 + 3 + 4 + 2

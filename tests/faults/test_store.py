"""What a run does when its store fails it; see `tests.faults.store_faults`."""

import shutil
import subprocess
import sys

import pytest


@pytest.mark.parametrize("where", ["store", "disk", "wire"])
def test_a_fault_of_the_store_costs_at_most_the_steps_since_the_newest_checkpoint(where: str) -> None:
    """In a process of its own: it forks after TensorFlow's import."""
    if where == "wire" and not shutil.which("toxiproxy-server"):
        pytest.skip("no toxiproxy-server on PATH: go install github.com/Shopify/toxiproxy/v2/cmd/server@latest")
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.store_faults", "--only", where],
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    if "skipped: full disk" in done.stderr:
        pytest.skip("mounting a tmpfs is not allowed here")
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]

"""A sample of `make test-multinode`, which takes a quarter of an hour."""

import subprocess
import sys


def test_a_run_that_lost_a_worker_ends_as_one_that_did_not() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.multinode", "--only", "kill -9 worker 1"],
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 cases, 0 failed" in done.stdout

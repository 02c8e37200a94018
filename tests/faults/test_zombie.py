"""Two processes of one run: the elder, paused over the take-over and then continued, writes nothing."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import sets
from tests.conftest import S3
from trainer import storage


def everything(uri: str) -> dict[str, str]:
    """Every object of the run and its version; TensorBoard's files are scratch of each process."""
    return {o.name: o.version for o in storage.list_objects(uri) if not o.name.startswith("tensorboard/")}


@pytest.mark.parametrize("store", ["local", "s3"])
def test_a_process_that_was_replaced_writes_nothing_and_says_why(store: str, s3: S3, tmp_path: Path) -> None:
    output = str(tmp_path / "out") if store == "local" else f"s3://{s3.bucket}/zombie"
    document = sets.job(
        sets.write(tmp_path / "data", rows=600),
        output,
        output__checkpoint={"every": "7 steps"},
        output__tensorboard=False,
        fit={"epochs": 12, "batch_size": 32},
    )
    job = sets.write_job(tmp_path / "job.yaml", document)
    command = [sys.executable, "-m", "trainer", "fit", str(job), "--run", "r"]
    environment = {**os.environ, "KFIT_CACHE": str(tmp_path / "cache")}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as elder:
        assert elder.stderr is not None
        for line in elder.stderr:
            if " 2/12" in line and "done" in line:
                break
        elder.send_signal(signal.SIGSTOP)
        younger = subprocess.run(command, capture_output=True, text=True, check=False, timeout=180, env=environment)
        assert younger.returncode == 0, younger.stderr
        assert "going on from the checkpoint" in younger.stderr
        before = everything(f"{output}/runs/r")
        elder.send_signal(signal.SIGCONT)
        said = elder.stderr.read()
        assert elder.wait(timeout=60) == 64, said
    assert "another process of this run has taken over" in said
    assert "Traceback" not in said
    time.sleep(0.5)
    assert everything(f"{output}/runs/r") == before


def test_twenty_fits_half_of_them_killed_leave_nothing_behind(tmp_path: Path) -> None:
    """No object that no manifest names, after any number of kills; in a process of its own, since it forks."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.growth"], capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]

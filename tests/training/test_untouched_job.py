"""The untouched default job keeps its promise of exact resume."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

from tests import sets
from tests.faults.ends import differences, unpublished
from trainer.checkpoint.run_folder import RunFolder


def test_an_untouched_job_that_is_killed_and_goes_on_ends_bit_for_bit_as_one_that_was_not(tmp_path: Path):
    data = sets.write(tmp_path / "data", shards=2, rows=700)
    document = sets.job(data, tmp_path / "out", model={"builtin": "mlp"}, fit={"epochs": 6})
    job = sets.write_job(tmp_path / "job.yaml", document)

    def start(run: str) -> subprocess.Popen:
        words = [sys.executable, "-m", "trainer", "fit", str(job), "--run", run, "--devices", "cpu"]
        return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    whole = start("whole")
    assert (whole.communicate(timeout=300), whole.returncode)[1] == 0
    killed = start("killed")
    commits = tmp_path / "out" / "runs" / "killed" / "checkpoints"
    deadline = time.monotonic() + 200
    while not list(commits.glob("step-*/MANIFEST.json")) and killed.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    assert (killed.communicate(timeout=60), killed.returncode)[1] == -signal.SIGKILL
    again = start("killed")
    said, _ = again.communicate(timeout=300)
    assert again.returncode == 0, said
    assert "going on from the checkpoint" in said
    one, other = (RunFolder(str(tmp_path / "out"), run) for run in ("whole", "killed"))
    assert differences(one, other) + unpublished(other) == []

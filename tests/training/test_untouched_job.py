"""What the untouched default must keep: exact resume after a kill, and the same training on any number of replicas."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests import sets
from tests.faults.ends import differences, unpublished
from tests.model.packed_sets import FEATURES, batches, every_kind, labels, make_config
from trainer.checkpoint.run_folder import RunFolder
from trainer.model.build import build
from trainer.model.features import Features
from trainer.model.strategy import make_strategy, seed_everything
from trainer.model.trainable import compile_model

EPOCHS, BATCH = 3, 48


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_the_default_model_trains_alike_on_1_2_and_4_replicas(task):
    """Periodic embeddings, AdamW and its cosine, with a batch that is filled up: sums differ in their order alone."""
    names = [name for name, feature in FEATURES.items() if feature["kind"] in ("numeric", "categorical")][:10]
    config = make_config(task, {name: FEATURES[name] for name in names}, model={"builtin": "mlp"})
    rows = 5 * BATCH + 7
    made = every_kind(rows, task=task, names=names)
    ends, answers = [], []
    for replicas in (1, 2, 4):
        strategy = make_strategy(f"cpu:{replicas}")
        seed_everything(config, strategy)
        with strategy.scope():
            features = Features(made.layout, config, made.statistics)
            model = compile_model(build(features, config), config, steps_total=EPOCHS * -(-rows // BATCH))
        data = batches(made.x, labels(rows, task), BATCH)
        history = model.fit(data, epochs=EPOCHS, verbose=0, shuffle=False).history
        ends.append({name: values for name, values in history.items() if name != "learning_rate"})
        answers.append(np.asarray(model(made.x, training=False)))
    assert any("number_frequencies" in variable.path for variable in model.variables)
    for end, answer in zip(ends[1:], answers[1:], strict=True):
        for name, values in ends[0].items():
            np.testing.assert_allclose(end[name], values, rtol=1e-3, atol=1e-4, err_msg=name)
        np.testing.assert_allclose(answer, answers[0], atol=2e-3)


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
    assert killed.wait(timeout=60) == -signal.SIGKILL
    again = start("killed")
    said, _ = again.communicate(timeout=300)
    assert again.returncode == 0, said
    assert "going on from the checkpoint" in said
    one, other = (RunFolder(str(tmp_path / "out"), run) for run in ("whole", "killed"))
    assert differences(one, other) + unpublished(other) == []

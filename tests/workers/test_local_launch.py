"""A run of two processes on the real command line; `python -m tests.multinode` hurts them in every way."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests import sets
from tests.trainer_process import newest_checkpoint, trainer
from trainer.errors import ExitCode
from trainer.workers.local_launch import worst


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workers")
    data = sets.write(folder / "data")
    for number, shard in enumerate(sorted(data.glob("*.parquet"))):
        pq.write_table(with_tags(pq.read_table(shard), number), shard, row_group_size=40)
    document = sets.job(
        data,
        folder / "out",
        output__tensorboard=False,
        fit=sets.every_callback(epochs=2, optimizer={"name": "adam", "learning_rate": 0.01, "global_clip_norm": 0.5}),
    )
    tags = {"kind": "sequence", "length": 6, "size": 3, "ragged": True}
    document["run"]["data"]["features"]["tags"] = tags
    sets.write_job(folder / "job.yaml", document)
    return folder


def with_tags(table: pa.Table, seed: int) -> pa.Table:
    """A list of up to eight words a row: the longest of a batch is often not the longest of a worker's part."""
    rng = np.random.default_rng(seed)
    lengths = np.minimum(rng.geometric(0.5, len(table)) - 1, 8)
    return table.append_column("tags", pa.array([rng.choice(["a", "b", "c"], n).tolist() for n in lengths]))


def fit(workshop: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return trainer(workshop, "fit", str(workshop / "job.yaml"), *words)


def test_two_workers_train_as_one_with_two_devices(workshop: Path) -> None:
    """Weights, optimizer, history, ragged rows, a last partial batch: where replicas are does not change their sums."""
    one = fit(workshop, "--run", "one", "--devices", "cpu:2")
    assert one.returncode == 0, one.stderr
    two = fit(workshop, "--run", "two", "--devices", "cpu:1", "--workers", "2", "-o", "json")
    assert two.returncode == 0, two.stderr
    document = json.loads(two.stdout)
    assert document == json.loads((workshop / "out/runs/two/result.json").read_text())
    assert document["status"] == "succeeded"
    a, b = newest_checkpoint(workshop / "out", "one"), newest_checkpoint(workshop / "out", "two")
    assert (a.step, b.step) == (30, 30)
    for group in ("weights", "optimizer", "best"):
        assert a.groups[group].keys() == b.groups[group].keys()
        for name, array in a.groups[group].items():
            np.testing.assert_allclose(array, b.groups[group][name], rtol=0, atol=1e-6, err_msg=f"{group} {name}")
    for name, values in a.state["history"].items():
        np.testing.assert_allclose(values, b.state["history"][name], rtol=0, atol=1e-6, err_msg=name)
    assert "worker 1: trained; waiting for worker 0 to publish the model" in two.stderr
    assert "Traceback" not in two.stderr


def test_a_configuration_no_worker_can_use_is_told_once(workshop: Path) -> None:
    done = fit(workshop, "--run", "odd", "--workers", "2", "--devices", "cpu:1", "--set", "run.fit.batch_size=33")
    assert done.returncode == 64, done.stderr
    assert done.stderr.count("batch_size 33 does not divide among 2 replicas; use 32 or 34") == 1


@pytest.mark.parametrize(
    ("codes", "code"),
    [
        ([0, 0], 0),
        ([76, -9], ExitCode.PEER_LOST),
        ([76, 65, 76], ExitCode.DATA),
        ([75, 76], ExitCode.PREEMPTED),
        ([0, -6], ExitCode.PEER_LOST),
        ([130, 76], ExitCode.PEER_LOST),
    ],
)
def test_workers_end_with_the_code_that_says_most(codes: list[int], code: int) -> None:
    assert worst(codes) == code

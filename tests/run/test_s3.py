"""The same job against a real S3 server: the same weights as from a local folder, and what S3 refuses."""

from pathlib import Path

import numpy as np
import pytest

from tests import sets
from tests.conftest import READER_KEY, READER_SECRET, S3
from tests.trainer_process import RUN_FILES, newest_checkpoint, trainer
from trainer import storage


def test_s3_and_a_local_folder_train_to_the_same_weights(s3: S3, tmp_path: Path) -> None:
    data = sets.write(tmp_path / "data")
    storage.upload_folder(data, f"s3://{s3.bucket}/set")
    ends = {}
    for name, uri, out in (
        ("local", str(data), str(tmp_path / "out")),
        ("s3", f"s3://{s3.bucket}/set", f"s3://{s3.bucket}/out"),
    ):
        job = sets.write_job(tmp_path / f"{name}.yaml", sets.job(uri, out))
        done = trainer(tmp_path, "fit", str(job), "--run", "r")
        assert done.returncode == 0, done.stderr
        ends[name] = newest_checkpoint(out, "r")
    for array_name, array in ends["local"].groups["weights"].items():
        np.testing.assert_array_equal(array, ends["s3"].groups["weights"][array_name])
    left = {o.name.partition("/")[0] for o in storage.list_objects(f"s3://{s3.bucket}/out/runs/r")}
    assert left == RUN_FILES
    asked = trainer(
        tmp_path,
        "predict",
        f"s3://{s3.bucket}/out/runs/r",
        "--data",
        f"s3://{s3.bucket}/set",
        "--output",
        f"s3://{s3.bucket}/answers",
    )
    assert asked.returncode == 0, asked.stderr
    assert len(storage.list_objects(f"s3://{s3.bucket}/answers")) == 4


@pytest.mark.parametrize(
    ("data", "env", "code", "says"),
    [
        ("s3://no-such-bucket/set", {}, 65, "no such"),
        ("s3://{bucket}/nothing/*.parquet", {}, 65, "glob matches nothing"),
        ("s3://{bucket}/set", {"AWS_SECRET_ACCESS_KEY": "wrong"}, 69, "credentials"),
        (
            "s3://{bucket}/set",
            {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"},
            69,
            "retries",
        ),
    ],
)
def test_what_s3_refuses_is_named(s3: S3, tmp_path: Path, data: str, env: dict[str, str], code: int, says: str) -> None:
    job = sets.write_job(tmp_path / "job.yaml", sets.job(data.format(bucket=s3.bucket), tmp_path / "out"))
    done = trainer(tmp_path, "fit", str(job), "--run", "r", KFIT_STORAGE_DEADLINE_S="3", **env)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert done.stderr.count("error: ") == 1
    assert "Traceback" not in done.stderr


def test_an_output_without_the_right_to_write_is_named(s3: S3, tmp_path: Path) -> None:
    data = sets.write(tmp_path / "data")
    job = sets.write_job(tmp_path / "job.yaml", sets.job(data, f"s3://{s3.bucket}/forbidden"))
    reader = {"AWS_ACCESS_KEY_ID": READER_KEY, "AWS_SECRET_ACCESS_KEY": READER_SECRET}
    done = trainer(tmp_path, "fit", str(job), "--run", "r", **reader)
    assert done.returncode == 69, done.stderr
    assert "permission" in done.stderr
    assert "Traceback" not in done.stderr

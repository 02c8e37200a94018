"""`code`: a wheel or a folder is on the path before an entrypoint is imported, and what is wrong with it is told."""

from __future__ import annotations

import hashlib
import io
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import keras
import pytest
from pydantic import ValidationError

from tests import sets
from tests.trainer_process import trainer
from trainer import storage, user_code
from trainer.config import Code, Config
from trainer.errors import ConfigError
from trainer.run.fetched_code import content_digest, on_path
from trainer.run.nightly_hooks import _digest
from trainer.training.resume import resume_signature_hash

NAME = "shop-1.4.0-py3-none-any.whl"
MODULE = """
from pathlib import Path

import keras


class Doubled(keras.layers.Layer):
    def call(self, x):
        return 2 * x


def build(features):
    units = int(Path(__file__).with_name("units.txt").read_text())
    inputs = features.inputs()
    x = keras.layers.Dense(units, "relu", name="own")(Doubled()(features.encode(inputs)))
    return keras.Model(inputs, keras.layers.Dense(1, "sigmoid")(x))


def wrong(features):
    return features.nothing
"""
FILES = {"shop/__init__.py": "", "shop/models.py": MODULE, "shop/units.txt": "5"}


def wheel(**more: str) -> bytes:
    """A wheel of FILES; `more` are further files by their path."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        files = {**FILES, "shop-1.4.0.dist-info/WHEEL": "Wheel-Version: 1.0\nTag: py3-none-any\n", **more}
        for name, text in files.items():
            archive.writestr(name, text)
    return data.getvalue()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_a_job_trains_by_a_wheel_from_storage_that_wins_over_the_working_folder(tmp_path: Path, output: str) -> None:
    uri, data = storage.join(output, "wheels", NAME), wheel()
    storage.write(uri, data)
    document = sets.job(sets.write(tmp_path / "data"), output, model={"entrypoint": "shop.models:build"})
    document["run"]["code"] = {"from": uri, "sha256": sha256(data)}
    job = sets.write_job(tmp_path / "job.yaml", document)
    (tmp_path / "other/shop").mkdir(parents=True)  # an older copy beside the job
    (tmp_path / "other/shop/__init__.py").write_text("raise RuntimeError('the wrong one')")
    done = trainer(tmp_path, "fit", str(job), "--run", "r", PYTHONPATH=f"{tmp_path / 'other'}:{Path.cwd()}")
    assert done.returncode == 0, done.stderr
    result = json.loads(storage.read(f"{output}/runs/r/result.json"))
    assert result["status"] == "succeeded"
    assert trainer(tmp_path, "check", str(job)).returncode == 0

    document["run"]["model"]["entrypoint"] = "shop.models:wrong"
    failed = trainer(tmp_path, "fit", str(sets.write_job(job, document)), "--run", "s")
    assert failed.returncode == 70
    assert "shop/models.py:20: shop.models:wrong raised: AttributeError" in failed.stderr


def test_a_folder_is_on_the_path_and_its_modules_decide_what_is_unchanged(tmp_path: Path) -> None:
    (tmp_path / "shop_in_folder.py").write_text("VALUE = 1\n")
    code = Code.model_validate({"from": str(tmp_path)})
    before = content_digest(code)
    with on_path(code):
        import shop_in_folder

        assert shop_in_folder.VALUE == 1
        assert user_code.environment()["PYTHONPATH"].split(":")[0] == str(tmp_path)
    assert str(tmp_path) not in sys.path
    assert content_digest(code) == before
    (tmp_path / "shop_in_folder.py").write_text("VALUE = 2\n")
    assert content_digest(code) != before


def test_another_wheel_is_another_night_and_no_run_goes_on_with_it(tmp_path: Path) -> None:
    def config(data: bytes) -> Config:
        (tmp_path / NAME).write_bytes(data)
        document = sets.job(tmp_path, tmp_path)["run"]
        return Config.model_validate(document | {"code": {"from": str(tmp_path / NAME), "sha256": sha256(data)}})

    first, other = config(wheel()), config(wheel(**{"shop/units.txt": "6"}))
    assert first.model_dump(mode="json")["code"]["from"] == str(tmp_path / NAME)
    assert _digest(first, "f", {}) == _digest(first, "f", {}) != _digest(other, "f", {})
    assert resume_signature_hash(first) != resume_signature_hash(other)


@pytest.mark.parametrize("part", ["purelib", "platlib"])
def test_packages_beside_the_wheels_root_are_found(tmp_path: Path, part: str) -> None:
    (tmp_path / NAME).write_bytes(wheel(**{f"shop-1.4.0.data/{part}/beside_{part}.py": ""}))
    with on_path(Code.model_validate({"from": str(tmp_path / NAME)})):
        __import__(f"beside_{part}")


@pytest.mark.parametrize(
    ("name", "data", "sha", "says"),
    [
        (NAME, wheel(), "0" * 64, "the wheel's SHA-256 is .*, and the job file has 0000"),
        (NAME, None, None, "there is no such file"),
        ("nowhere", None, None, "there is no such folder"),
        ("model.whl", wheel(), None, "'model.whl' is no wheel's name"),
        (NAME, b"no archive", None, "it is no wheel: File is not a zip file"),
        (NAME, wheel()[:-30], None, "it is no wheel: "),
        (NAME, wheel().replace(b"Doubled", b"Tripled"), None, "it is no wheel: Bad CRC-32"),
        ("shop-1.4.0-cp311-cp311-win_amd64.whl", wheel(), None, "the wheel is for cp311-cp311-win_amd64, and this"),
        ("shop-1.4.0-cp27-none-any.whl", wheel(), None, "the wheel is for cp27-none-any"),
        (NAME, wheel(**{"../outside.py": ""}), None, r"it holds '\.\./outside\.py', which leads out of its folder"),
        (NAME, wheel(**{"/etc/outside.py": ""}), None, "it holds '/etc/outside.py'"),
        (NAME, wheel(**{"shop/..\\outside.py": ""}), None, "which leads out"),
    ],
)
def test_what_is_no_fitting_wheel_is_one_clear_error(
    tmp_path: Path, name: str, data: bytes | None, sha: str | None, says: str
) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with (
        pytest.raises(ConfigError, match=says) as refused,
        on_path(Code.model_validate({"from": str(tmp_path / name), "sha256": sha})),
    ):
        pass
    assert refused.value.where.startswith("run.code.")
    assert refused.value.remedy
    assert not list(tmp_path.parent.rglob("outside.py"))


def test_a_link_in_a_wheel_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / NAME, "w") as archive:
        archive.writestr("shop-1.4.0.dist-info/WHEEL", "")
        link = zipfile.ZipInfo("shop/link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc")
    with (
        pytest.raises(ConfigError, match="it holds 'shop/link'"),
        on_path(Code.model_validate({"from": str(tmp_path / NAME)})),
    ):
        pass


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ({"from": f"s3://models/{NAME}"}, "sha256 is missing; `sha256sum FILE` prints that of the wheel"),
        ({"from": "s3://models/src"}, "is no wheel, and a folder is for this machine alone"),
        ({"from": "src", "sha256": "0" * 64}, "goes with a wheel, not with a folder"),
        ({"from": f"s3://models/{NAME}", "sha256": "abc"}, "should match pattern"),
    ],
)
def test_code_that_is_not_pinned_is_refused_before_anything_is_fetched(code: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Code.model_validate(code)


def test_a_job_that_names_a_part_of_keras_makes_keras_no_code_of_its_own():
    user_code.remember("keras.losses")
    assert not user_code.is_users(keras.__file__)

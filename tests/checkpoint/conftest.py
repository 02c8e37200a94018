"""The run folder of the tests of checkpoints."""

from pathlib import Path

import pytest

from trainer.checkpoint.run_folder import RunFolder


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(str(tmp_path / "out"), "run-1")

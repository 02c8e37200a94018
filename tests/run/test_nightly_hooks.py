"""What a night looks at before it trains."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests import sets
from tests.nightly import days
from trainer.checkpoint.run_folder import RunFolder
from trainer.config import Config
from trainer.errors import DataError
from trainer.run.nightly_hooks import RunDate, begin


@pytest.mark.parametrize("part", ["filter", "slices", "by"])
def test_a_holdout_without_a_column_that_the_gate_reads_is_refused_before_training(tmp_path: Path, part: str) -> None:
    lake = tmp_path / "lake"
    days.write(lake, 0, 1)
    held = tmp_path / "held.parquet"
    pq.write_table(days.table(2).drop_columns(["unused"]), held)
    uses = {
        "filter": ("data__filter", {"unused": {"above": -1}}),
        "slices": ("promote__slices", ["unused"]),
        "by": ("promote__by", "unused"),
    }
    document = sets.job(str(lake), str(tmp_path / "out"), data__holdout=str(held), promote__max_loss=0.2)
    config = Config.model_validate(sets.change(document, dict([uses[part]]))["run"])
    with pytest.raises(DataError, match="unused"):
        begin(config, RunFolder(str(tmp_path / "out"), "r"), RunDate(None), lambda line: None)

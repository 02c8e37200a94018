"""What a night looks at before it trains, and which rows its gate scores."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests import sets
from tests.nightly import days
from tests.serving.published import configuration, publish_untrained, write_set
from trainer.checkpoint.run_folder import RunFolder
from trainer.config import Config
from trainer.errors import DataError
from trainer.run.nightly_hooks import NightlyRun, RunDate, begin, decide


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


def test_the_gate_scores_the_rows_of_the_filter_alone(tmp_path: Path) -> None:
    """Rows that the filter leaves out have null labels, which no run could be promoted on."""
    out = [i % 3 == 0 for i in range(120)]
    table = {
        "x": pa.array([float(i) for i in range(120)]),
        "country": ["fr" if one else "de" for one in out],
        "label": pa.array([None if one else i % 2 for i, one in enumerate(out)], pa.int64()),
    }
    data = write_set(tmp_path / "data", pa.table(table))
    of_data = {"filter": {"country": {"equals": "de"}}}
    document = configuration(data, tmp_path / "out", {"x": {"kind": "numeric"}}, **of_data).model_dump(mode="json")
    document["data"]["holdout"] = str(data)
    config = Config.model_validate(document | {"promote": {"max_loss": 0.2}})
    publish_untrained(config)
    nightly = NightlyRun(config, config, RunFolder(config.output.uri, "r1"), None, {})
    decision = decide(nightly, lambda line: None)["decision"]
    assert (decision["passed"], decision["rows"]) == (True, 80)

"""docs/upgrading.md: every old form is tried with today's chart, and answered as the page says."""

from __future__ import annotations

import re
import textwrap

import pytest
import yaml

from tests.chart.charts import NIGHTLY, ROOT, RUN, refusal, render, values
from trainer.config import Config

PAGE = (ROOT / "docs" / "upgrading.md").read_text()
ROWS = re.findall(r"^\| `(\{.*?\})` \| (.*?) \| `(\{.*\})` \|$", PAGE, re.MULTILINE)


@pytest.mark.parametrize(("old", "answer", "new"), ROWS, ids=[row[0][1:30] for row in ROWS])
def test_an_old_form_is_refused_in_these_words_and_the_new_one_taken(old, answer, new):
    assert answer in refusal(values(yaml.safe_load(old)))
    render(values(yaml.safe_load(new)))


def test_every_row_is_read():
    table = PAGE.partition("## Refused now")[2].partition("\n\nNames")[0]
    assert len(ROWS) == table.strip().count("\n") - 1 == 11


def test_what_is_taken_does_what_the_page_says():
    assert "suspend" not in render(values(queue="team-a")).job
    assert "ttlSecondsAfterFinished" not in render(values(NIGHTLY, ttlSecondsAfterFinished=60)).job
    job = render(values())
    assert "ConfigMap" not in job.objects
    assert "kfit.dev/job-file" in job.job["template"]["metadata"]["annotations"]


def test_the_old_defaults_are_taken(tmp_path):
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    old = yaml.safe_load(textwrap.dedent(block))["run"]
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump({"run": {**RUN, **old, "data": {**RUN["data"], **old["data"]}}}))
    config = Config.load(path)
    assert (config.fit.epochs, config.fit.batch_size, config.fit.early_stopping) == (10, 1024, None)
    render(values(run=old))

"""The dashboard: a file that Grafana imports, and a ConfigMap that its sidecar loads."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.chart.charts import CHART, NIGHTLY, ROOT, render, values

BOARD: dict[str, Any] = json.loads((CHART / "dashboards" / "kfit.json").read_text())


def rendered(*flags: str, **changes: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The ConfigMap, and the one dashboard in it."""
    found = render(values(dashboard={"enabled": True}, **changes), *flags).objects["ConfigMap"]
    ((name, text),) = found["data"].items()
    assert name.endswith(".json")
    return found, json.loads(text)


def queries(board: dict[str, Any]) -> list[str]:
    panels = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    return panels + [v["query"] for v in board["templating"]["list"] if v["type"] == "query"]


def series_of(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:kfit|kube|push)_[a-z_]+", expression))


def test_there_is_none_by_default_and_it_makes_no_other_job():
    assert "ConfigMap" not in render(values()).objects
    assert render(values(dashboard={"enabled": True})).name == render(values()).name


def test_the_sidecar_finds_it():
    found, _ = rendered()
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    mine = values(dashboard={"enabled": True, "labels": {"board": "yes"}, "annotations": {"grafana_folder": "ml"}})
    meta = render(mine).objects["ConfigMap"]["metadata"]
    assert meta["labels"]["board"] == "yes"
    assert meta["annotations"] == {"grafana_folder": "ml"}


def test_it_begins_with_this_job():
    _, board = rendered("-n", "ml", run={"output": {"uri": "s3://models/flights/"}})
    now = {v["name"]: v["current"].get("value") for v in board["templating"]["list"]}
    assert (now["output"], now["namespace"], now["name"]) == ("s3://models/flights", "ml", "flights")
    (name,) = [v for v in board["templating"]["list"] if v["type"] == "textbox"]
    assert name["query"] == "flights"
    assert board["panels"] == BOARD["panels"]


def test_dashboards_of_several_jobs_do_not_displace_each_other():
    boards = [
        rendered("-n", "a"),
        rendered("-n", "b"),
        rendered("-n", "a", name="weather"),
        rendered("-n", "a", name="x" * 54),
    ]
    assert len({board["uid"] for _, board in boards}) == len(boards)
    assert len({file for found, _ in boards for file in found["data"]}) == len(boards)
    assert all(len(board["uid"]) <= 40 for _, board in boards)


def test_it_is_the_same_with_a_schedule():
    assert rendered(**NIGHTLY)[1] == rendered()[1]


def test_panels_have_numbers_of_their_own_and_do_not_overlap():
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.parametrize("panel", [p for p in BOARD["panels"] if p["type"] != "row"], ids=lambda p: p["title"])
def test_a_panel_says_what_it_shows(panel):
    assert panel["title"]
    assert panel["description"]
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["targets"]


def test_variables_of_queries_are_there():
    known = {v["name"] for v in BOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(BOARD))) - {"__all"}
    assert used == known


def test_docs_list_every_series_that_dashboard_and_alerts_name():
    page = (ROOT / "docs" / "metrics.md").read_text()
    listed = {name for row in page.splitlines() if row.startswith("| `") for name in series_of(row.split("|")[1])}
    rules = render(values(alerts={"enabled": True})).objects["PrometheusRule"]["spec"]["groups"][0]["rules"]
    named = set().union(*map(series_of, [*queries(BOARD), *(rule["expr"] for rule in rules)]))
    assert named <= listed
    assert {name for name in named if name.startswith("kube_")}

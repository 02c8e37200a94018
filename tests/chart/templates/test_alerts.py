"""Alert rules: none unless asked for, and then about this job alone; judged by promtool on recorded series."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from k8s.actions.continue_run import next_name
from k8s.actions.schedules import triggered
from tests.chart.charts import NIGHTLY, render, values
from tests.monitoring import programs

RULES = {"enabled": True, "productionMaxAgeDays": 3, "skippedNights": 2}


def groups(**alerts: Any) -> list[dict[str, Any]]:
    """The rule groups of the nightly job of tests.chart.charts."""
    return render(values(NIGHTLY, alerts={**RULES, **alerts}), "-n", "ml").objects["PrometheusRule"]["spec"]["groups"]


def rules(**alerts: Any) -> dict[str, str]:
    return {rule["alert"]: rule["expr"] for group in groups(**alerts) for rule in group["rules"]}


def test_there_are_none_by_default():
    assert "PrometheusRule" not in render(values()).objects


def test_a_limit_of_nought_is_no_rule():
    assert set(rules(productionMaxAgeDays=0, skippedNights=0)) == {"KfitJobFailed"}


def test_alerts_do_not_make_another_job():
    assert render(values(alerts={"enabled": True})).name == render(values()).name


Alert = tuple[str, dict[str, str]]


def check(folder: Path, series: Mapping[str, str], expected: Mapping[str, Sequence[Alert]]) -> str:
    """What promtool says of the rules on recorded series of a value a minute; empty where it is as expected.

    Args:
        folder: For promtool's files.
        series: Values by series.
        expected: Rule and labels of the alerts that fire, by the time at which they do; no other may.
    """
    made = groups()
    annotations = {rule["alert"]: rule["annotations"] for group in made for rule in group["rules"]}

    def alert(name: str, labels: Mapping[str, str]) -> dict[str, Any]:
        texts = {
            key: text.replace("{{ $labels.job_name }}", labels.get("job_name", ""))
            for key, text in annotations[name].items()
        }
        return {"exp_labels": {**labels, "severity": "warning"}, "exp_annotations": texts}

    checks = [
        {"eval_time": at, "alertname": name, "exp_alerts": [alert(n, labels) for n, labels in alerts if n == name]}
        for at, alerts in expected.items()
        for name in annotations
    ]
    recorded = [{"series": name, "values": steps} for name, steps in series.items()]
    test = {"interval": "1m", "input_series": recorded, "alert_rule_test": checks}
    (folder / "rules.yml").write_text(yaml.safe_dump({"groups": made}))
    document = {"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": [test]}
    (folder / "test.yml").write_text(yaml.safe_dump(document))
    words = [programs.program("promtool"), "test", "rules", "test.yml"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def failed(job: str, namespace: str = "ml", condition: str = "true") -> dict[str, str]:
    """Labels of kube-state-metrics' `kube_job_failed`."""
    return {"namespace": namespace, "job_name": job, "condition": condition}


def series(name: str, labels: Mapping[str, str]) -> str:
    return f"{name}{{{', '.join(f'{key}={value!r}' for key, value in labels.items())}}}".replace("'", '"')


def job_names() -> dict[str, str]:
    """The names of this job's runs, made by what names them."""
    nightly = render(values(NIGHTLY)).objects["CronJob"]
    nightly["metadata"]["uid"] = "u"
    by_hand = render(values()).name
    live = {"metadata": {"name": by_hand, "uid": "u", "labels": {"app.kubernetes.io/instance": "flights"}}}
    return {
        "by hand": by_hand,
        "by schedule": f"flights-{1_700_000_000 // 60}",  # the CronJob controller: minutes since the epoch
        "triggered or backfilled": str(triggered(nightly, datetime.now(UTC), None)["metadata"]["name"]),
        "continued": next_name(live),
    }


@pytest.mark.parametrize("kind", ["by hand", "by schedule", "triggered or backfilled", "continued"])
def test_a_job_that_fails_for_good_calls_somebody_whatever_started_it(tmp_path, kind):
    job = failed(job_names()[kind])
    recorded = {series("kube_job_failed", job): "_ _ _ 1 1 1 _ _"}
    assert check(tmp_path, recorded, {"3m": [], "4m": [("KfitJobFailed", job)], "12m": []}) == ""


def test_a_job_that_succeeds_at_its_second_try_calls_nobody(tmp_path):
    name = job_names()["by schedule"]
    recorded = {
        series("kube_job_status_failed", {"namespace": "ml", "job_name": name, "reason": ""}): "0 1 1 1 1 1",
        series("kube_job_status_succeeded", {"namespace": "ml", "job_name": name}): "0 0 0 1 1 1",
        series("kube_job_complete", failed(name)): "_ _ _ 1 1 1",
        **{series("kube_job_failed", failed(name, condition=c)): "0x6" for c in ("true", "false", "unknown")},
    }
    assert check(tmp_path, recorded, {"2m": [], "5m": []}) == ""


@pytest.mark.parametrize(
    "other",
    [
        failed("flights-28333333", namespace="other"),
        failed("flights-28333333", condition="false"),
        failed("flights-eu-28333333"),
        failed("flights-deadbeef-28333333"),
        failed("myflights-28333333"),
        failed("flights"),
    ],
    ids=lambda labels: "/".join(labels.values()),
)
def test_a_job_of_others_calls_nobody(tmp_path, other):
    assert check(tmp_path, {series("kube_job_failed", other): "1x5"}, {"5m": []}) == ""


OF_OUTPUT = {"job": "kfit", "output": "s3://models/flights"}


def test_an_old_production_calls_somebody_until_a_model_is_promoted(tmp_path):
    promoted = series("kfit_production_promoted_seconds", OF_OUTPUT)
    other = series("kfit_production_promoted_seconds", {**OF_OUTPUT, "output": "s3://models/other"})
    days = 24 * 60
    recorded = {promoted: f"0x{4 * days} {4 * days * 60}x100", other: f"0x{5 * days}"}
    alert: Alert = ("KfitProductionOld", OF_OUTPUT)
    expected = {f"{3 * days}m": [], f"{3 * days + 1}m": [alert], f"{4 * days}m": [alert], f"{4 * days + 2}m": []}
    assert check(tmp_path, recorded, expected) == ""


def test_nights_without_training_call_somebody(tmp_path):
    nights = series("kfit_nights_without_training", OF_OUTPUT)
    expected = {"2m": [], "3m": [("KfitNightsWithoutTraining", OF_OUTPUT)], "5m": []}
    assert check(tmp_path, {nights: "0 1 1 2 2 0"}, expected) == ""


def test_promtool_tells_an_alert_that_nobody_expects(tmp_path):
    job = failed(job_names()["by hand"])
    assert "FAILED" in check(tmp_path, {series("kube_job_failed", job): "1x5"}, {"5m": []})

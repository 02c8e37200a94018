"""Alert rules: none unless asked for, and then about this job alone."""

from tests.chart.charts import render, values


def rules(**alerts):
    found = render(values(alerts={"enabled": True, **alerts}))
    groups = found.objects["PrometheusRule"]["spec"]["groups"]
    return {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"]}


def test_there_are_none_by_default():
    assert "PrometheusRule" not in render(values()).objects


def test_they_name_the_job_and_its_output():
    found = rules(productionMaxAgeDays=3, skippedNights=2)
    assert set(found) == {"KfitJobFailed", "KfitProductionOld", "KfitNightsWithoutTraining"}
    assert "3 * 86400" in found["KfitProductionOld"]
    assert found["KfitNightsWithoutTraining"].endswith(">= 2")


def test_a_limit_of_nought_is_no_rule():
    assert set(rules(productionMaxAgeDays=0, skippedNights=0)) == {"KfitJobFailed"}


def test_alerts_do_not_make_another_job():
    assert render(values(alerts={"enabled": True})).name == render(values()).name

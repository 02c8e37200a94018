"""templates/serviceaccount.yaml."""

from __future__ import annotations

import pytest

from tests.chart.charts import JOB, render, values


@pytest.mark.parametrize(
    ("account", "name", "made"),
    [
        ({}, "default", False),
        ({"name": "trainer"}, "trainer", False),
        ({"create": True}, "flights", True),
        ({"create": True, "name": "trainer"}, "trainer", True),
    ],
)
def test_pods_run_as_the_account_that_is_named_or_made(account, name, made):
    job = render(values(serviceAccount=account))
    assert job.pod["serviceAccountName"] == name
    assert ("ServiceAccount" in job.objects) is made
    if made:
        assert job.objects["ServiceAccount"]["metadata"]["name"] == name


def test_a_role_of_the_cloud_is_named_by_annotation():
    role = {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/trainer"}
    account = render(values(serviceAccount={"create": True, "annotations": role})).objects["ServiceAccount"]
    assert account["metadata"]["annotations"] == role
    assert account["automountServiceAccountToken"] is False


def test_it_outlives_the_job_it_came_with():
    """The next Job of that name runs as the same account, so no label ties it to one of them."""
    account = render(values(serviceAccount={"create": True})).objects["ServiceAccount"]
    assert "kfit.dev/job" not in account["metadata"]["labels"]
    assert account["metadata"]["labels"]["app.kubernetes.io/instance"] == "flights"
    assert "annotations" not in account["metadata"]
    assert "ServiceAccount" not in render(JOB).objects

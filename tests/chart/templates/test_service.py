"""templates/service.yaml."""

from __future__ import annotations

from tests.chart.charts import JOB, render, values


def test_one_node_needs_none():
    assert "Service" not in render(JOB).objects


def test_workers_are_found_before_they_are_ready():
    job = render(values(nodes=2))
    assert job.objects["Service"]["metadata"]["name"] == job.name
    assert job.objects["Service"]["spec"] == {
        "clusterIP": "None",
        "publishNotReadyAddresses": True,
        "selector": {"kfit.dev/job": job.name},
        "ports": [
            {"name": "grpc", "port": 2222, "targetPort": "grpc"},
            {"name": "meeting", "port": 2223, "targetPort": "meeting"},
        ],
    }


def test_its_selector_finds_the_pods():
    job = render(values(nodes=2))
    labels = job.job["template"]["metadata"]["labels"]
    assert job.objects["Service"]["spec"]["selector"].items() <= labels.items()

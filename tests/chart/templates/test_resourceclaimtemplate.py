"""templates/resourceclaimtemplate.yaml: devices by Dynamic Resource Allocation."""

from __future__ import annotations

from tests.chart.charts import JOB, refusal, render, values


def with_claims(*claims):
    return values(resources={"claims": list(claims)})


def test_a_class_of_devices_is_asked_for_by_a_template_of_the_jobs():
    job = render(
        with_claims({"name": "gpu", "deviceClassName": "gpu.nvidia.com", "count": 4, "selectors": ["device.x == 1"]})
    )
    template = job.objects["ResourceClaimTemplate"]
    assert template["apiVersion"] == "resource.k8s.io/v1"
    assert template["metadata"]["name"] == f"{job.name}-gpu"
    assert template["spec"]["spec"]["devices"]["requests"] == [
        {
            "name": "gpu",
            "exactly": {
                "deviceClassName": "gpu.nvidia.com",
                "allocationMode": "ExactCount",
                "count": 4,
                "selectors": [{"cel": {"expression": "device.x == 1"}}],
            },
        }
    ]
    assert job.pod["resourceClaims"] == [{"name": "gpu", "resourceClaimTemplateName": f"{job.name}-gpu"}]
    assert job.container["resources"]["claims"] == [{"name": "gpu"}]


def test_claims_that_are_there_are_used_as_they_are():
    job = render(
        with_claims(
            {"name": "gpu", "resourceClaimTemplateName": "two-gpus"}, {"name": "nic", "resourceClaimName": "shared"}
        )
    )
    assert "ResourceClaimTemplate" not in job.objects
    assert job.pod["resourceClaims"] == [
        {"name": "gpu", "resourceClaimTemplateName": "two-gpus"},
        {"name": "nic", "resourceClaimName": "shared"},
    ]


def test_without_claims_nothing_is_claimed():
    job = render(JOB)
    assert "resourceClaims" not in job.pod
    assert "claims" not in job.container["resources"]


def test_an_older_cluster_is_told_to_use_gpus():
    said = refusal(with_claims({"name": "gpu", "deviceClassName": "gpu.nvidia.com"}), kube="1.33.0")
    assert "resources.claims need Kubernetes 1.34, this is v1.33.0; use resources.gpus" in said

"""Where the kinds of objects that the launcher knows lie in the API."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """Where objects of a kind lie."""

    group: str
    version: str
    plural: str

    @property
    def api_version(self) -> str:
        """Group and version as a manifest names them."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def api(self) -> str:
        """Path of the group."""
        return f"/{'apis' if self.group else 'api'}/{self.api_version}"


KINDS = {
    "Job": Kind("batch", "v1", "jobs"),
    "CronJob": Kind("batch", "v1", "cronjobs"),
    "Pod": Kind("", "v1", "pods"),
    "Event": Kind("", "v1", "events"),
    "ConfigMap": Kind("", "v1", "configmaps"),
    "Service": Kind("", "v1", "services"),
    "ServiceAccount": Kind("", "v1", "serviceaccounts"),
    "ResourceQuota": Kind("", "v1", "resourcequotas"),
    "NetworkPolicy": Kind("networking.k8s.io", "v1", "networkpolicies"),
    "ResourceClaimTemplate": Kind("resource.k8s.io", "v1", "resourceclaimtemplates"),
    "Workload": Kind("kueue.x-k8s.io", "v1beta1", "workloads"),
    "LocalQueue": Kind("kueue.x-k8s.io", "v1beta1", "localqueues"),
}

"""The kinds of objects that the launcher knows, and their paths in the API.

Every path of a request is made here. A path of one object always ends with a well-formed name: with an empty
one it would be the path of the collection, and a DELETE of that removes everybody's objects.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from k8s.errors import RefusedError

_LABEL = "[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_SUBDOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_NAME_LENGTH = 253
_OTHERS = "send it by `kfit render JOB | kubectl apply -f -`, or by helm"


@dataclass(frozen=True)
class Kind:
    """The API group, version and resource of a kind; `older` is asked for where the server has not got `version`."""

    group: str
    version: str
    plural: str
    older: str = ""

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
    "PodDisruptionBudget": Kind("policy", "v1", "poddisruptionbudgets"),
    "ResourceClaimTemplate": Kind("resource.k8s.io", "v1", "resourceclaimtemplates"),
    "PrometheusRule": Kind("monitoring.coreos.com", "v1", "prometheusrules"),
    "Workload": Kind("kueue.x-k8s.io", "v1beta2", "workloads", older="v1beta1"),
    # of Kueue's visibility API, where its subresource `pendingworkloads` is the queue in its order
    "LocalQueue": Kind("visibility.kueue.x-k8s.io", "v1beta2", "localqueues", older="v1beta1"),
}


def collection_path(kind: str, namespace: str | None, *, older: bool = False) -> str:
    """Returns the path of all objects of a kind in a namespace: for list, watch and create.

    Args:
        kind: The kind.
        namespace: The namespace; None for all, which the API only lists.
        older: In the older version of a kind that has one.

    Raises:
        RefusedError: The kind is unknown to the launcher, or the namespace is not a DNS label.
    """
    known = KINDS.get(kind)
    if known is None:
        raise RefusedError(f"kfit does not know the kind {kind!r}", remedy=_OTHERS)
    if namespace is not None and not re.fullmatch(_LABEL, namespace):
        raise RefusedError(
            f"{namespace!r} is not a name of a namespace",
            remedy="a name has at most 63 lower-case letters, digits and hyphens; -n names the namespace",
        )
    api = f"/apis/{known.group}/{known.older}" if older and known.older else known.api
    return f"{api}/{known.plural}" if namespace is None else f"{api}/namespaces/{namespace}/{known.plural}"


def object_path(kind: str, namespace: str, name: str, *, older: bool = False) -> str:
    """Returns the path of one object: for get, patch, replace and delete. It is never the path of a collection.

    Raises:
        RefusedError: The name is empty or not a DNS subdomain; or as `collection_path`.
    """
    if len(name) > _NAME_LENGTH or not _SUBDOMAIN.fullmatch(name):
        raise RefusedError(
            f"{name[:80]!r} is not a name of a {kind}",
            where=f"namespace {namespace}",
            remedy="a name has lower-case letters, digits, hyphens and dots; `kfit list` shows what is there",
        )
    return f"{collection_path(kind, namespace, older=older)}/{name}"

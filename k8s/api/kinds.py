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
    "PrometheusRule": Kind("monitoring.coreos.com", "v1", "prometheusrules"),
    "Workload": Kind("kueue.x-k8s.io", "v1beta1", "workloads"),
    "LocalQueue": Kind("kueue.x-k8s.io", "v1beta1", "localqueues"),
}


def collection_path(kind: str, namespace: str) -> str:
    """Returns the path of all objects of a kind in a namespace: for list, watch and create.

    Raises:
        RefusedError: The kind is unknown to the launcher, or the namespace is not a DNS label.
    """
    known = _known(kind)
    if not re.fullmatch(_LABEL, namespace):
        raise RefusedError(
            f"{namespace!r} is not a name of a namespace",
            remedy="a name has at most 63 lower-case letters, digits and hyphens; -n names the namespace",
        )
    return f"{known.api}/namespaces/{namespace}/{known.plural}"


def everywhere_path(kind: str) -> str:
    """Returns the path of all objects of a kind in all namespaces: for list alone.

    Raises:
        RefusedError: The kind is unknown to the launcher.
    """
    known = _known(kind)
    return f"{known.api}/{known.plural}"


def object_path(kind: str, namespace: str, name: str) -> str:
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
    return f"{collection_path(kind, namespace)}/{name}"


def _known(kind: str) -> Kind:
    known = KINDS.get(kind)
    if known is None:
        raise RefusedError(f"kfit does not know the kind {kind!r}", remedy=f"it knows {', '.join(KINDS)}")
    return known

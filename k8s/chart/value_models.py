"""The parts of the job file that the chart reads: image, resources, schedule, network policy and others.

Keys are spelled as Kubernetes spells them. `values.JobFile` puts them together.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Annotated, Any, Literal, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import AfterValidator, BeforeValidator, Field, Tag, WithJsonSchema

from k8s.chart.kubernetes_names import (
    CRON,
    DIGEST,
    FOLDER,
    NETWORK,
    REPOSITORY,
    RESOURCE,
    TAG,
    VARIABLE,
    ZONE,
    Annotations,
    Labels,
    ObjectName,
    OptionalLabelKey,
    OptionalObjectName,
    PartName,
    QueueName,
    mapping,
)
from k8s.chart.kubernetes_types import EgressRule, EnvVarSource
from trainer.config import Strict
from trainer.config.values import WHOLE, NonNegativeInt, PositiveInt, member

_QUANTITY = re.compile(r"\d+(\.\d+)?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?")


def _quantity(value: object) -> object:
    # true is an int to Python, and no amount.
    if value is True or value is False or not _QUANTITY.fullmatch(str(value)):
        raise ValueError(f"{value!r} is not an amount; write it like 4, 500m or 16Gi")
    return str(value)


_QUANTITY_SCHEMA: dict[str, Any] = {
    "anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": f"^{_QUANTITY.pattern}$"}]
}
Quantity = Annotated[str, BeforeValidator(_quantity), WithJsonSchema(_QUANTITY_SCHEMA)]
"""A Kubernetes quantity: 4, 500m, 16Gi."""
Requestable = Literal["cpu", "memory", "ephemeral-storage"]
"""What may be requested below its limit. Of all else Kubernetes wants the request to be the limit."""
Requests = Annotated[
    dict[Requestable, Quantity],
    # pydantic's `propertyNames` makes helm name another key in its error.
    WithJsonSchema(
        {
            "type": "object",
            "additionalProperties": False,
            "properties": dict.fromkeys(get_args(Requestable), _QUANTITY_SCHEMA),
        }
    ),
]
OptionalQuantity = Annotated[Quantity, Tag(member("quantity"))] | Annotated[Literal[""], Tag(member("none"))]

Cidr = Annotated[str, NETWORK]
Port = Annotated[int, Field(ge=1, le=65535), WHOLE]
Extra = Annotated[dict[Annotated[str, RESOURCE], Quantity], WithJsonSchema(mapping(RESOURCE, _QUANTITY_SCHEMA))]
_MANIFEST = ("apiVersion", "kind", "metadata")


def _check_manifest(manifest: dict[str, Any]) -> dict[str, Any]:
    if missing := [key for key in _MANIFEST if key not in manifest]:
        raise ValueError(f"no manifest of Kubernetes: {', '.join(missing)} missing")
    return manifest


Manifest = Annotated[
    dict[str, Any], AfterValidator(_check_manifest), WithJsonSchema({"type": "object", "required": list(_MANIFEST)})
]


def _known_zone(name: str) -> str:
    """Checks that a time zone is there; a machine that knows none takes every name."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        if zones := available_timezones():
            near = get_close_matches(name, zones, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "use a name such as Europe/Berlin"
            raise ValueError(f"there is no time zone {name!r}; {hint}") from error
    return name


class ContainerImage(Strict):
    """The trainer's image."""

    repository: Annotated[str, REPOSITORY.or_empty] = Field(
        "", description="Registry and name, `registry.example/trainer`. A job needs it."
    )
    tag: Annotated[str, TAG.or_empty] = Field("", description="Tag. Default: the chart's appVersion.")
    digest: Annotated[str, DIGEST.or_empty] = Field("", description="`sha256:…`; wins over the tag, and never moves.")
    pullPolicy: Literal["Always", "IfNotPresent", "Never"] = Field("IfNotPresent", description="When it is pulled.")


class Claim(Strict):
    """Devices by Dynamic Resource Allocation (Kubernetes 1.34 and newer)."""

    name: PartName = Field(description="The claim's name in the pod.")
    deviceClassName: OptionalObjectName = Field(
        "", description="Ask for devices of this class; the chart makes the claim template."
    )
    count: PositiveInt = Field(1, description="Devices of the class for each pod.")
    selectors: list[str] = Field([], description="CEL expressions each of the devices must meet.")
    resourceClaimTemplateName: OptionalObjectName = Field("", description="Or: a ResourceClaimTemplate that is there.")
    resourceClaimName: OptionalObjectName = Field(
        "", description="Or: a ResourceClaim that is there, shared by all pods."
    )


class TemporaryFolder(Strict):
    """`/tmp`, where the feed keeps large row groups of object storage while they are read."""

    size: OptionalQuantity = Field("", description="Largest size; a pod that exceeds it is evicted. Default: none.")
    medium: Literal["", "Memory"] = Field("", description="Empty: the node's disk. Memory: counts as memory.")


class Resources(Strict):
    """What each pod holds.

    Requests equal limits, so that the pod is Guaranteed: the node evicts it last.
    """

    gpus: NonNegativeInt = Field(0, description="GPUs of each pod.")
    gpuResource: Annotated[str, RESOURCE] = Field(
        "nvidia.com/gpu", description="The name under which nodes offer their GPUs."
    )
    cpu: Quantity = Field("2", description="CPUs of each pod.")
    memory: Quantity = Field("4Gi", description="Memory of each pod, `/dev/shm` included.")
    shm: Quantity = Field("1Gi", description="Size of `/dev/shm`; NCCL between GPUs needs it. Counts as memory.")
    tmp: TemporaryFolder = Field(default_factory=TemporaryFolder, description="The folder `/tmp`.")
    ephemeralStorage: OptionalQuantity = Field(
        "", description="Disk of each pod: `/tmp`, logs and the container's own layer. Default: no request, no limit."
    )
    extra: Extra = Field(
        {},
        description="More resources by name, requested and limited: `rdma/hca`, `hugepages-2Mi`.",
    )
    requests: Requests = Field(
        {},
        description="Requests that differ from the limits, `{cpu: 1}` say. The pod is then Burstable, evicted earlier.",
    )
    claims: list[Claim] = Field([], description="Devices by Dynamic Resource Allocation, in place of `gpus`.")


class CronSchedule(Strict):
    """When a CronJob starts a run. Without `cron` it is one Job, now."""

    cron: Annotated[str, CRON.or_empty] = Field(
        "", description="Five fields, `0 2 * * *`. Set: a CronJob; empty: a Job."
    )
    timeZone: Annotated[str, ZONE, AfterValidator(_known_zone)] = Field(
        "Etc/UTC", description="Name of the time zone that `cron` is meant in."
    )
    suspend: bool = Field(False, description="Start nothing until it is false again.")
    concurrencyPolicy: Literal["Forbid", "Allow", "Replace"] = Field(
        "Forbid", description="What happens while the last run is still at work. Forbid: the next one does not start."
    )
    startingDeadlineSeconds: Annotated[int, Field(ge=10), WHOLE] = Field(
        3600,
        description="A start that was missed is made up for within this time. "
        "Below 10 the controller, which looks every 10 s, can miss all of them.",
    )
    successfulJobsHistoryLimit: NonNegativeInt = Field(3, description="Jobs kept that succeeded.")
    failedJobsHistoryLimit: NonNegativeInt = Field(3, description="Jobs kept that failed.")


class ServiceAccount(Strict):
    """Who the pods are to the cloud (IRSA, Workload Identity). No token of the cluster is mounted."""

    name: OptionalObjectName = Field("", description="Its name. Default: `name` where it is created, else `default`.")
    create: bool = Field(False, description="Make it with the job.")
    annotations: Annotations = Field(
        {}, description="Annotations of the account that is made, `eks.amazonaws.com/role-arn` say."
    )


class PullSecret(Strict):
    """A Secret with a registry's credentials."""

    name: ObjectName = Field(description="Name of the Secret.")


class EnvVar(Strict):
    """An environment variable."""

    name: Annotated[str, VARIABLE] = Field(description="Its name; `KFIT_…` belongs to the chart.")
    value: str = Field("", description="Its value, readable by all who may read Jobs: no credentials here.")
    valueFrom: EnvVarSource = Field(
        {}, description="Or where it comes from, as in Kubernetes: `secretKeyRef` and others."
    )


class Reference(Strict):
    """A Secret or a ConfigMap of the same namespace."""

    name: ObjectName = Field(description="Its name.")
    optional: bool = Field(False, description="Start without it where it is not there.")


class EnvFrom(Strict):
    """All keys of a Secret or a ConfigMap as environment variables."""

    prefix: Annotated[str, VARIABLE.or_empty] = Field("", description="Put before each name.")
    secretRef: Reference | None = Field(None, description="A Secret: the place for credentials of the object store.")
    configMapRef: Reference | None = Field(None, description="A ConfigMap.")


class VolumeMount(Strict):
    """Where a volume of `volumes` is seen by the trainer."""

    name: PartName = Field(description="The volume's name.")
    mountPath: Annotated[str, FOLDER] = Field(description="Path in the container.")
    subPath: str = Field("", description="A folder inside the volume.")
    readOnly: bool = Field(False, description="Mount it read-only.")


class NetworkPolicy(Strict):
    """What the pods may speak to: name service, the object store, and each other."""

    enabled: bool = Field(True, description="Make a NetworkPolicy. Nothing may call in but peers of the same job.")
    storagePorts: list[Port] = Field([443], description="TCP ports of the object store and of its sign-in.")
    storageCidrs: list[Cidr] = Field([], description="Networks the store lies in. Default: anywhere.")
    dnsPorts: list[Port] = Field([53], description="Ports of the name service, UDP and TCP.")
    identity: Literal["", "eks-pod-identity", "gke-workload-identity", "azure-workload-identity"] = Field(
        "", description="Lets the pods reach what signs them in: the agent, metadata server or sign-in page of a cloud."
    )
    extraEgress: list[EgressRule] = Field([], description="More rules as in Kubernetes, for a proxy say.")


class LivenessProbe(Strict):
    """Ends a container in which no step is finished any more.

    `run.fit.stall` does so from inside, with a message and exit code 71; the probe is for a process that hangs whole.
    """

    enabled: bool = Field(False, description="Probe the trainer's container.")
    maxStepAgeSeconds: PositiveInt = Field(
        3600, description="Age of the last step above which the node ends the container. Longer than `run.fit.stall`."
    )
    periodSeconds: PositiveInt = Field(60, description="Seconds between probes.")


class Topology(Strict):
    """Kueue's topology-aware scheduling."""

    required: OptionalLabelKey = Field("", description="All pods in one domain of this level, or none starts.")
    preferred: OptionalLabelKey = Field("", description="All pods in one domain of this level where that can be.")


class Queue(Strict):
    """Kueue's queue that admits the Job."""

    name: QueueName = Field("", description="The LocalQueue. Kueue suspends the Job and lets it go.")
    priority: QueueName = Field("", description="A WorkloadPriorityClass: order in the queue, not of pods.")
    topology: Topology = Field(default_factory=Topology, description="Where the pods are placed together.")


class PodDisruptionBudget(Strict):
    """Keeps a drain of a node from evicting the pods; a run goes on after an eviction in any case."""

    enabled: bool = Field(
        False,
        description="Make a PodDisruptionBudget that evicts none of the `nodes`. "
        "Of several runs of a schedule at a time it keeps as many pods as one has.",
    )


class Alerts(Strict):
    """A PrometheusRule of the Prometheus operator, on kube-state-metrics and on what `run.metrics` pushes."""

    enabled: bool = Field(False, description="Make a PrometheusRule; the cluster must know the kind.")
    labels: Labels = Field({}, description="Labels by which your Prometheus finds its rules.")
    productionMaxAgeDays: NonNegativeInt = Field(
        7, description="Warn where no model was promoted for so many days. 0: never."
    )
    skippedNights: NonNegativeInt = Field(7, description="Warn after so many runs in a row without training. 0: never.")


class Dashboard(Strict):
    """A dashboard for Grafana in a ConfigMap: runs in progress, the last run, production, and the Jobs."""

    enabled: bool = Field(False, description="Make the ConfigMap.")
    labels: Labels = Field({"grafana_dashboard": "1"}, description="Labels by which Grafana's sidecar finds it.")
    annotations: Annotations = Field({}, description="Annotations, such as the sidecar's for a folder.")

"""The job file whole: Helm values, of which the key `run:` is the trainer's configuration.

Keys are spelled as Kubernetes spells them. From these models come the chart's `values.schema.json`, its
`values.yaml` and its README, so a key is checked in the same way by kfit and by helm alone. What depends
on several keys at once is checked by the chart (`fail`), in one place for both.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, NonNegativeInt, PositiveInt, WithJsonSchema

from trainer.config import Config, Strict
from trainer.config.loader import validate
from trainer.config.overrides import apply_override
from trainer.config.yaml_file import load_yaml

_QUANTITY = re.compile(r"\d+(\.\d+)?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?")
_LABEL_VALUE = r"^([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?$"
_DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"


def _quantity(value: object) -> object:
    # true is an int to Python, and no amount.
    if value is True or value is False or not _QUANTITY.fullmatch(str(value)):
        raise ValueError(f"{value!r} is not an amount; write it like 4, 500m or 16Gi")
    return str(value)


Quantity = Annotated[
    str,
    BeforeValidator(_quantity),
    WithJsonSchema(
        {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string", "pattern": f"^{_QUANTITY.pattern}$"}]}
    ),
]
"""A Kubernetes quantity: 4, 500m, 16Gi."""

_CRON = r"^(@(hourly|daily|midnight|weekly|monthly|yearly|annually)|\S+( +\S+){4})?$"
_CIDR = r"^([0-9]{1,3}(\.[0-9]{1,3}){3}|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*)/[0-9]{1,3}$"

Cidr = Annotated[str, Field(pattern=_CIDR)]
Port = Annotated[int, Field(ge=1, le=65535)]
Object = dict[str, Any]


class ContainerImage(Strict):
    """The trainer's image."""

    repository: str = Field("", description="Registry and name, `registry.example/trainer`. A job needs it.")
    tag: str = Field("", description="Tag. Default: the chart's appVersion.")
    digest: str = Field(
        "", pattern=r"^(sha256:[0-9a-f]{64})?$", description="`sha256:…`; wins over the tag, and never moves."
    )
    pullPolicy: Literal["Always", "IfNotPresent", "Never"] = Field("IfNotPresent", description="When it is pulled.")


class Claim(Strict):
    """Devices by Dynamic Resource Allocation (Kubernetes 1.34 and newer)."""

    name: str = Field(max_length=63, pattern=_DNS_LABEL, description="The claim's name in the pod.")
    deviceClassName: str = Field("", description="Ask for devices of this class; the chart makes the claim template.")
    count: PositiveInt = Field(1, description="Devices of the class for each pod.")
    selectors: list[str] = Field([], description="CEL expressions each of the devices must meet.")
    resourceClaimTemplateName: str = Field("", description="Or: a ResourceClaimTemplate that is there.")
    resourceClaimName: str = Field("", description="Or: a ResourceClaim that is there, shared by all pods.")


class Resources(Strict):
    """What each pod holds; requests and limits are equal, so that the node evicts it last."""

    gpus: NonNegativeInt = Field(0, description="GPUs of each pod.")
    gpuResource: str = Field("nvidia.com/gpu", description="The name under which nodes offer their GPUs.")
    cpu: Quantity = Field("2", description="CPUs of each pod.")
    memory: Quantity = Field("4Gi", description="Memory of each pod, `/dev/shm` included.")
    shm: Quantity = Field("1Gi", description="Size of `/dev/shm`; NCCL between GPUs needs it. Counts as memory.")
    claims: list[Claim] = Field([], description="Devices by Dynamic Resource Allocation, in place of `gpus`.")


class CronSchedule(Strict):
    """When a CronJob starts a run. Without `cron` it is one Job, now."""

    cron: str = Field("", pattern=_CRON, description="Five fields, `0 2 * * *`. Set: a CronJob; empty: a Job.")
    timeZone: str = Field("Etc/UTC", description="Name of the time zone that `cron` is meant in.")
    suspend: bool = Field(False, description="Start nothing until it is false again.")
    startingDeadlineSeconds: Annotated[int, Field(ge=10)] = Field(
        3600,
        description="A start that was missed is made up for within this time. "
        "Below 10 the controller, which looks every 10 s, can miss all of them.",
    )
    successfulJobsHistoryLimit: NonNegativeInt = Field(3, description="Jobs kept that succeeded.")
    failedJobsHistoryLimit: NonNegativeInt = Field(3, description="Jobs kept that failed.")


class ServiceAccount(Strict):
    """Who the pods are to the cloud (IRSA, Workload Identity). No token of the cluster is mounted."""

    name: str = Field("", description="Its name. Default: `name` where it is created, else `default`.")
    create: bool = Field(False, description="Make it with the job.")
    annotations: dict[str, str] = Field(
        {}, description="Annotations of the account that is made, `eks.amazonaws.com/role-arn` say."
    )


class PullSecret(Strict):
    """A Secret with a registry's credentials."""

    name: str = Field(min_length=1, description="Name of the Secret.")


class EnvVar(Strict):
    """An environment variable."""

    name: str = Field(pattern=r"^[A-Za-z_.-][A-Za-z0-9_.-]*$", description="Its name; `KFIT_…` belongs to the chart.")
    value: str = Field("", description="Its value, readable by all who may read Jobs: no credentials here.")
    valueFrom: Object = Field({}, description="Or where it comes from, as in Kubernetes: `secretKeyRef` and others.")


class Reference(Strict):
    """A Secret or a ConfigMap of the same namespace."""

    name: str = Field(min_length=1, description="Its name.")
    optional: bool = Field(False, description="Start without it where it is not there.")


class EnvFrom(Strict):
    """All keys of a Secret or a ConfigMap as environment variables."""

    prefix: str = Field("", description="Put before each name.")
    secretRef: Reference | None = Field(None, description="A Secret: the place for credentials of the object store.")
    configMapRef: Reference | None = Field(None, description="A ConfigMap.")


class VolumeMount(Strict):
    """Where a volume of `volumes` is seen by the trainer."""

    name: str = Field(description="The volume's name.")
    mountPath: str = Field(pattern="^/", description="Path in the container.")
    subPath: str = Field("", description="A folder inside the volume.")
    readOnly: bool = Field(False, description="Mount it read-only.")


class NetworkPolicy(Strict):
    """What the pods may speak to: name service, the object store, and each other."""

    enabled: bool = Field(True, description="Make a NetworkPolicy. Nothing may call in but peers of the same job.")
    storagePorts: list[Port] = Field([443], description="TCP ports of the object store and of its sign-in.")
    storageCidrs: list[Cidr] = Field([], description="Networks the store lies in. Default: anywhere.")
    dnsPorts: list[Port] = Field([53], description="Ports of the name service, UDP and TCP.")
    extraEgress: list[Object] = Field(
        [], description="More rules as in Kubernetes, for a cloud's metadata server or a proxy say."
    )


class Alerts(Strict):
    """A PrometheusRule of the Prometheus operator, on kube-state-metrics and on the run's `metrics.prom`."""

    enabled: bool = Field(False, description="Make a PrometheusRule; the cluster must know the kind.")
    labels: dict[str, str] = Field({}, description="Labels by which your Prometheus finds its rules.")
    productionMaxAgeDays: NonNegativeInt = Field(
        7, description="Warn where no model was promoted for so many days. 0: never."
    )
    skippedNights: NonNegativeInt = Field(7, description="Warn after so many runs in a row without training. 0: never.")


class JobFile(Strict):
    """The keys beside `run:`, which the chart reads."""

    name: str = Field(
        max_length=54,
        pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$",
        description="The job's name; runs are named after it. At most 54 characters, 52 with a schedule, "
        "2 or 3 fewer with several nodes.",
    )
    run: Config = Field(description="The trainer's configuration: `docs/job-file.md`.")
    nodes: Annotated[int, Field(ge=1, le=1000)] = Field(1, description="Pods that train together, each on a node.")
    image: ContainerImage = Field(default_factory=lambda: ContainerImage(), description="The trainer's image.")
    resources: Resources = Field(default_factory=lambda: Resources(), description="What each pod holds.")
    schedule: CronSchedule = Field(default_factory=lambda: CronSchedule(), description="When a CronJob starts a run.")
    queue: str = Field(
        "",
        max_length=63,
        pattern=_LABEL_VALUE,
        description="Kueue's LocalQueue. The Job starts suspended and the queue lets it go.",
    )
    suspend: bool = Field(False, description="Start no pod until someone sets the Job's `suspend` to false.")
    runId: str = Field(
        "",
        max_length=63,
        pattern=_LABEL_VALUE,
        description="Go on with this run where it stopped. Default: the Job's name.",
    )
    again: str = Field("", description="Any text; another text makes another Job of the same values.")
    activeDeadlineSeconds: PositiveInt = Field(
        86400,
        description="The Job ends after this time whatever happens. It cannot be left out: "
        "preempted pods do not count against `backoffLimit` and could start for ever.",
    )
    backoffLimit: NonNegativeInt = Field(
        2, description="Pods that may fail before the Job does. Preemption does not count."
    )
    ttlSecondsAfterFinished: NonNegativeInt | None = Field(
        86400,
        description="A Job that ended goes after this time; what the run left in storage stays. null: it stays.",
    )
    terminationGracePeriodSeconds: PositiveInt = Field(
        120, description="From SIGTERM to SIGKILL: time for the last checkpoint."
    )
    priorityClassName: str = Field("", description="PriorityClass of the pods.")
    runtimeClassName: str = Field("", description="RuntimeClass of the pods, `nvidia` on some clusters.")
    nodeSelector: dict[str, str] = Field({}, description="Labels a node must have.")
    tolerations: list[Object] = Field([], description="Taints the pods tolerate.")
    affinity: Object = Field({}, description="Affinity, as in Kubernetes.")
    topologySpreadConstraints: list[Object] = Field(
        [], description="Spread, as in Kubernetes. Without a `labelSelector` it is over the pods of this job."
    )
    serviceAccount: ServiceAccount = Field(
        default_factory=lambda: ServiceAccount(), description="Who the pods are to the cloud."
    )
    imagePullSecrets: list[PullSecret] = Field([], description="Secrets with credentials of the registry.")
    env: list[EnvVar] = Field([], description="Environment variables of the trainer.")
    envFrom: list[EnvFrom] = Field([], description="Secrets and ConfigMaps whose keys are environment variables.")
    volumes: list[Object] = Field([], description="More volumes, as in Kubernetes.")
    volumeMounts: list[VolumeMount] = Field([], description="Where the trainer sees them.")
    podLabels: dict[str, str] = Field({}, description="More labels of the pods.")
    podAnnotations: dict[str, str] = Field({}, description="More annotations of the pods.")
    networkPolicy: NetworkPolicy = Field(
        default_factory=lambda: NetworkPolicy(), description="What the pods may speak to."
    )
    alerts: Alerts = Field(default_factory=lambda: Alerts(), description="Rules that call somebody.")
    kubeVersion: str = Field(
        "",
        pattern=r"^(v?1\.\d+(\.\d+)?([-+].*)?)?$",
        description="The cluster's version, `1.33` say. Default: what helm knows, "
        "which for `helm template` is helm's own and not the cluster's.",
    )

    @classmethod
    def load(cls, path: str | Path, overrides: list[str] | None = None) -> JobFile:
        """Reads a whole job file.

        Args:
            path: The job file.
            overrides: `--set` expressions, applied as helm does: `nodes=2`.

        Returns:
            The job file, its `run` included.

        Raises:
            ConfigError: Not there, not YAML, or wrong; all faults in one message, each with its line.
        """
        document, lines = load_yaml(Path(path))
        for expression in overrides or []:
            apply_override(document, expression)
        return validate(cls, document, source=str(path), lines=lines, prefix=())

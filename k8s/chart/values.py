"""The job file whole: Helm values, of which the key `run:` is the trainer's configuration.

Keys are spelled as Kubernetes spells them. From these models come the chart's `values.schema.json`, its
`values.yaml` and its README, so a key is checked in the same way by kfit and by helm alone. What depends
on several keys at once is checked by the chart (`fail`), in one place for both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from k8s.chart.kubernetes_names import (
    CONTROLLER,
    NAME,
    VERSION,
    Annotations,
    Labels,
    LabelValue,
    OptionalObjectName,
    QueueName,
)
from k8s.chart.kubernetes_types import (
    Affinity,
    Container,
    DnsConfig,
    HostAlias,
    Lifecycle,
    PodFailurePolicyRule,
    PodSecurityContext,
    SecurityContext,
    Toleration,
    TopologySpreadConstraint,
    Volume,
)
from k8s.chart.value_models import (
    Alerts,
    ContainerImage,
    CronSchedule,
    Dashboard,
    EnvFrom,
    EnvVar,
    LivenessProbe,
    Manifest,
    NetworkPolicy,
    PodDisruptionBudget,
    PullSecret,
    Queue,
    Resources,
    ServiceAccount,
    VolumeMount,
)
from trainer.config import Config, Strict
from trainer.config.job_document import Files, JobDocument, load_document
from trainer.config.loader import validate
from trainer.config.overrides import Override
from trainer.config.values import WHOLE, NonNegativeInt, PositiveInt, member

#: Restricted Pod Security; 10001 is the image's user.
_POD_SECURITY: dict[str, Any] = {
    "runAsNonRoot": True,
    "runAsUser": 10001,
    "runAsGroup": 10001,
    "fsGroup": 10001,
    "fsGroupChangePolicy": "OnRootMismatch",
    "seccompProfile": {"type": "RuntimeDefault"},
}
_SECURITY: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def _queue_member(value: object) -> str:
    return member("Queue" if isinstance(value, dict | Queue) else "name")


class JobFile(Strict):
    """The keys beside `run:`, which the chart reads."""

    name: Annotated[str, NAME] = Field(
        description="The job's name; runs are named after it. At most 54 characters, 52 with a schedule, "
        "2 or 3 fewer with several nodes.",
    )
    run: Config = Field(description="The trainer's configuration: `docs/job-file.md`.")
    nodes: Annotated[int, Field(ge=1, le=1000), WHOLE] = Field(
        1, description="Pods that train together, each on a node."
    )
    minNodes: NonNegativeInt = Field(
        0,
        description="Fewest pods to begin with where the queue has no room for `nodes`: Kueue admits fewer, and "
        "the run begins with those that come within a minute of each other. 0: all of them.",
    )
    image: ContainerImage = Field(default_factory=ContainerImage, description="The trainer's image.")
    resources: Resources = Field(default_factory=Resources, description="What each pod holds.")
    schedule: CronSchedule = Field(default_factory=CronSchedule, description="When a CronJob starts a run.")
    # None and not "": helm warns of every mapping that takes the place of a text.
    queue: (
        Annotated[
            Annotated[QueueName, Tag(member("name"))] | Annotated[Queue, Tag(member("Queue"))],
            Discriminator(_queue_member),
        ]
        | None
    ) = Field(
        None,
        description="Kueue's LocalQueue, by name or as `{name, priority, topology}`. "
        "Kueue suspends the Job until it is admitted.",
    )
    suspend: bool = Field(
        False,
        description="Start no pod until someone sets the Job's `suspend` to false. Not for a queue: Kueue sets it "
        "itself, and what a GitOps controller wrote back would stop an admitted run.",
    )
    runId: LabelValue = Field(
        "",
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
        description="A Job that ended is removed after this time; what the run left in storage stays. null: it stays. "
        "Not for a schedule, whose history limits decide.",
    )
    podFailurePolicyRules: list[PodFailurePolicyRule] = Field(
        [], description="More rules of the podFailurePolicy, after the chart's own; the first that matches decides."
    )
    managedBy: Annotated[str, CONTROLLER.or_empty] = Field(
        "", description="Controller that runs the Job in place of Kubernetes' own (1.32 and newer)."
    )
    terminationGracePeriodSeconds: PositiveInt = Field(
        120, description="From SIGTERM to SIGKILL: time for the last checkpoint."
    )
    priorityClassName: OptionalObjectName = Field("", description="PriorityClass of the pods.")
    runtimeClassName: OptionalObjectName = Field("", description="RuntimeClass of the pods, `nvidia` on some clusters.")
    nodeSelector: Labels = Field({}, description="Labels a node must have.")
    tolerations: list[Toleration] = Field([], description="Taints the pods tolerate.")
    affinity: Affinity = Field({}, description="Affinity, as in Kubernetes.")
    topologySpreadConstraints: list[TopologySpreadConstraint] = Field(
        [], description="Spread, as in Kubernetes. Without a `labelSelector` it is over the pods of this job."
    )
    serviceAccount: ServiceAccount = Field(default_factory=ServiceAccount, description="Who the pods are to the cloud.")
    imagePullSecrets: list[PullSecret] = Field([], description="Secrets with credentials of the registry.")
    env: list[EnvVar] = Field([], description="Environment variables of the trainer.")
    envFrom: list[EnvFrom] = Field([], description="Secrets and ConfigMaps whose keys are environment variables.")
    volumes: list[Volume] = Field([], description="More volumes, as in Kubernetes.")
    volumeMounts: list[VolumeMount] = Field([], description="Where the trainer sees them.")
    initContainers: list[Container] = Field(
        [], description="Containers that run before the trainer; with `restartPolicy: Always` beside it (sidecars)."
    )
    podSecurityContext: PodSecurityContext = Field(
        _POD_SECURITY,
        description="Of the pod. null removes a key; OpenShift chooses the user itself: "
        "`{runAsUser: null, runAsGroup: null, fsGroup: null}`.",
    )
    securityContext: SecurityContext = Field(
        _SECURITY, description="Of the trainer's container. RDMA wants `{capabilities: {add: [IPC_LOCK]}}`."
    )
    command: list[str] = Field([], description="In place of the image's entry point.")
    args: list[str] = Field(["fit", "/etc/kfit/job.yaml"], description="What the trainer is called with.")
    lifecycle: Lifecycle = Field({}, description="Hooks of the trainer's container, as in Kubernetes.")
    livenessProbe: LivenessProbe = Field(default_factory=LivenessProbe, description="Whether steps are still finished.")
    hostNetwork: bool = Field(
        False,
        description="Use the node's network. Restricted Pod Security refuses it, and no NetworkPolicy holds for it.",
    )
    dnsPolicy: Literal["", "ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"] = Field(
        "", description="How names are resolved. Default: Kubernetes'; with `hostNetwork` ClusterFirstWithHostNet."
    )
    dnsConfig: DnsConfig = Field({}, description="Name servers and options, as in Kubernetes.")
    hostAliases: list[HostAlias] = Field([], description="Lines of `/etc/hosts`, as in Kubernetes.")
    schedulerName: OptionalObjectName = Field("", description="Scheduler that places the pods. Default: the cluster's.")
    preemptionPolicy: Literal["", "Never", "PreemptLowerPriority"] = Field(
        "",
        description="Whether the pods may preempt others. Default: what the PriorityClass says; "
        "the API server refuses a pod that says otherwise.",
    )
    commonLabels: Labels = Field({}, description="More labels of all objects and of the pods.")
    commonAnnotations: Annotations = Field(
        {},
        description="More annotations of all objects, for Argo CD and Flux say; not of pods and a schedule's Jobs. "
        "They change in place.",
    )
    jobLabels: Labels = Field({}, description="More labels of the Job, or of the schedule's Jobs.")
    jobAnnotations: Annotations = Field({}, description="More annotations of the Job, or of the schedule's Jobs.")
    podLabels: Labels = Field({}, description="More labels of the pods.")
    podAnnotations: Annotations = Field({}, description="More annotations of the pods.")
    networkPolicy: NetworkPolicy = Field(default_factory=NetworkPolicy, description="What the pods may speak to.")
    podDisruptionBudget: PodDisruptionBudget = Field(
        default_factory=PodDisruptionBudget, description="What a drain of nodes may evict."
    )
    alerts: Alerts = Field(default_factory=Alerts, description="Rules that call somebody.")
    dashboard: Dashboard = Field(default_factory=Dashboard, description="A dashboard for Grafana.")
    extraObjects: list[Manifest] = Field(
        [], description="More manifests, rendered as templates of this chart, with the labels of all objects."
    )
    fullnameOverride: Annotated[str, NAME.or_empty] = Field(
        "",
        description="Name of the objects in place of `name`.",
    )
    enabled: bool = Field(True, description="Make anything: the `condition:` of a chart that depends on this one.")
    kubeVersion: Annotated[str, VERSION.or_empty] = Field(
        "",
        description="The cluster's version, `1.33` say. Default: what helm knows, "
        "which for `helm template` is helm's own and not the cluster's.",
    )

    @classmethod
    def load(cls, files: Files, overrides: Sequence[Override] = ()) -> JobFile:
        """Reads a whole job file.

        Args:
            files: The job file, or several: the later wins; see `trainer.config.Config.load`.
            overrides: `--set` expressions, `nodes=2`, or pairs of another flag and its expression.

        Returns:
            The job file, its `run` included.

        Raises:
            ConfigError: Not there, not YAML, or wrong; all faults in one message, each with its line.
        """
        return cls.from_document(load_document(files, overrides))

    @classmethod
    def from_document(cls, document: JobDocument) -> JobFile:
        """Checks a job file that was read before; see `load`."""
        return validate(cls, document.values, document)

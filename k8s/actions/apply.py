"""Applies the objects of a job file, once: what is there and ours stays, what is foreign is refused."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

from k8s.actions.lookup import check_made_by_kfit
from k8s.api.client import OURS, Cluster, Object
from k8s.chart.yaml_documents import annotation, label
from k8s.errors import AccessError, AlreadyExists, Conflict, NotFound, RefusedError

#: Names that are in use, by kind.
TakenNames = Mapping[str, Set[str]]
#: Their names hold a hash of their content, so they never change.
_IMMUTABLE = ("Job", "ResourceClaimTemplate")


class Outcome(enum.Enum):
    """What was done to an object."""

    CREATED = "created"
    CHANGED = "changed"
    UNCHANGED = "unchanged"


@dataclass(frozen=True)
class Submitted:
    """Result of sending a job file.

    Attributes:
        workload: The Job or CronJob as the cluster has it.
        outcome: What was done to it.
        objects: What was done to each object, by `Kind/name`.
    """

    workload: Object
    outcome: Outcome
    objects: dict[str, Outcome]

    @property
    def name(self) -> str:
        """Name of the workload; for a Job it is also the run's."""
        return str(self.workload["metadata"]["name"])


def submit(
    cluster: Cluster, manifests: Sequence[Object], *, dry_run: bool = False, taken: TakenNames | None = None
) -> Submitted:
    """Creates what is missing, changes what may change, and makes the Job or CronJob own the rest.

    Every object is looked up before the first is written, so a name that is taken leaves everything as it was.

    Args:
        cluster: The namespace to write to.
        manifests: Those of one job file, the Job or CronJob last.
        dry_run: Let the API server check everything and keep nothing.
        taken: Names in use, where they were listed before; else each is looked up.

    Raises:
        RefusedError: A name is taken by a foreign object, or the cluster refuses a manifest.
    """
    ordered = sorted(manifests, key=_creation_order)
    existing = [_look_up(cluster, m, taken) for m in ordered]
    applied: list[tuple[Object, Outcome]] = []
    try:
        for manifest, current in zip(ordered, existing, strict=True):
            applied.append(_apply(cluster, manifest, current, dry_run))
    except (RefusedError, AccessError, NotFound):
        for live, outcome in applied:
            if outcome is Outcome.CREATED and not dry_run:
                cluster.delete(live["kind"], live["metadata"]["name"])
        raise
    workload = applied[-1][0]
    if not dry_run:
        for live, _ in applied[:-1]:
            _add_owner(cluster, workload, live)
    objects = {f"{live['kind']}/{live['metadata']['name']}": outcome for live, outcome in applied}
    result = Submitted(workload, objects[f"{workload['kind']}/{workload['metadata']['name']}"], objects)
    if dry_run and workload["kind"] == "Job" and result.outcome is Outcome.CREATED:
        _dry_run_pod(cluster, manifests[-1])
    return result


def _creation_order(manifest: Object) -> int:
    """Returns the sort key that decides which object is created first.

    The Job comes last, so that none of its pods starts without its NetworkPolicy, Service and ServiceAccount. It owns
    them as soon as it exists; where the launcher dies in between, the same file sent again completes them.
    """
    return {"ServiceAccount": 0, "Job": 2, "CronJob": 2}.get(manifest["kind"], 1)


def taken_names(cluster: Cluster, manifests: Iterable[Object]) -> TakenNames | None:
    """Returns the names in use of every kind in the manifests: one list for a kind, cheaper than many lookups.

    None where the right to list is missing or the cluster does not know a kind; then each name is looked up.
    """
    try:
        return {kind: cluster.names(kind) for kind in {m["kind"] for m in manifests}}
    except (AccessError, NotFound):
        return None


def _look_up(cluster: Cluster, manifest: Object, taken: TakenNames | None) -> Object | None:
    """Returns the object under the manifest's name, checked to be this job's; None where there is none."""
    kind, name = manifest["kind"], manifest["metadata"]["name"]
    if taken is not None and name not in taken[kind]:
        return None
    current = cluster.find(kind, name)
    if current is not None:
        check_same_job(manifest, current)
    return current


def check_same_job(manifest: Object, current: Object) -> None:
    """Checks that an object in the cluster comes from the same job as the manifest.

    Raises:
        RefusedError: Another tool, another job or another job file created it.
    """
    name = manifest["metadata"]["name"]
    where = f"{manifest['kind']} {name}"
    remedy = "choose another `name:` in the job file, or delete that object"
    for key in ("app.kubernetes.io/part-of", "app.kubernetes.io/instance"):
        if label(current, key) != label(manifest, key):
            what = f"an object of this name exists and is not this job's ({key}: {label(current, key) or 'none'})"
            raise RefusedError(what, where=where, remedy=remedy)
    if manifest["kind"] == "Job" and annotation(current, "values-hash") != annotation(manifest, "values-hash"):
        raise RefusedError("a Job of this name exists with other values", where=where, remedy=remedy)
    if _managed_by_helm(current) and not _has_annotations(current, manifest):
        raise RefusedError(
            "this ServiceAccount belongs to a Helm release and has other annotations",
            where=where,
            remedy="change it by that release, or set serviceAccount: {create: false, name: ...} in the job file",
        )


def _managed_by_helm(current: Object) -> bool:
    return current.get("kind") == "ServiceAccount" and label(current, "app.kubernetes.io/managed-by") == "Helm"


def _has_annotations(current: Object, manifest: Object) -> bool:
    annotations = current["metadata"].get("annotations") or {}
    return bool(annotations.items() >= (manifest["metadata"].get("annotations") or {}).items())


def _apply(cluster: Cluster, manifest: Object, current: Object | None, dry_run: bool) -> tuple[Object, Outcome]:
    kind, name = manifest["kind"], manifest["metadata"]["name"]
    if current is None:
        try:
            return _create(cluster, manifest, dry_run), Outcome.CREATED
        except AlreadyExists:
            # Somebody was faster by a moment: another launcher with the same file, or a stranger.
            current = cluster.get(kind, name)
            check_same_job(manifest, current)
    current = {"kind": kind, "apiVersion": manifest["apiVersion"], **current}
    if kind in _IMMUTABLE or _managed_by_helm(current):
        return current, Outcome.UNCHANGED
    try:
        live = cluster.replace(_merged(manifest, current), dry_run=dry_run)
    except Conflict:
        live = cluster.replace(_merged(manifest, cluster.get(kind, name)), dry_run=dry_run)
    same = live["metadata"]["resourceVersion"] == current["metadata"]["resourceVersion"]
    same = same or (dry_run and live.get("spec") == current.get("spec"))
    return live, Outcome.UNCHANGED if same else Outcome.CHANGED


def _create(cluster: Cluster, manifest: Object, dry_run: bool) -> Object:
    try:
        return cluster.create(manifest, dry_run=dry_run)
    except NotFound as unknown:
        if manifest["kind"] != "PrometheusRule":
            raise
        raise RefusedError(
            "this cluster does not know the kind PrometheusRule, which alerts.enabled needs",
            where=f"PrometheusRule {manifest['metadata']['name']}",
            remedy="install the Prometheus operator, or set alerts.enabled to false",
        ) from unknown


def _merged(manifest: Object, current: Object) -> Object:
    """Returns the manifest as a new version of the current object; its owners and others' labels stay."""
    meta = dict(current["metadata"])
    meta.pop("managedFields", None)
    for key in ("labels", "annotations"):
        meta[key] = {**(meta.get(key) or {}), **(manifest["metadata"].get(key) or {})}
    return {**{k: v for k, v in current.items() if k != "status"}, **manifest, "metadata": meta}


def owner_reference(workload: Object, *, controller: bool = False) -> Object:
    """Returns an owner reference to a Job or CronJob. It never blocks the owner's deletion."""
    meta = workload["metadata"]
    reference = {"apiVersion": "batch/v1", "kind": workload["kind"], "name": meta["name"], "uid": meta["uid"]}
    return reference | ({"controller": True} if controller else {})


def _add_owner(cluster: Cluster, workload: Object, live: Object) -> None:
    """Makes a workload an owner of an object, which is deleted with the last of its owners.

    A ServiceAccount has no owner: schedules, other Jobs and pods of other tools may use it.
    """
    if live["kind"] == "ServiceAccount":
        return
    owners = live["metadata"].get("ownerReferences") or []
    if any(reference["uid"] == workload["metadata"]["uid"] for reference in owners):
        return
    change = {"metadata": {"ownerReferences": [*owners, owner_reference(workload)]}}
    cluster.patch(live["kind"], live["metadata"]["name"], change)


def delete_workload(cluster: Cluster, workload: Object, *, foreground: bool = False) -> None:
    """Deletes a Job or CronJob made from a job file, and what was created for it by plain kubectl without an owner.

    Args:
        cluster: Its namespace.
        workload: The Job or CronJob as it was read.
        foreground: Let the API server keep it until its pods are gone.

    Raises:
        RefusedError: It was not made from a job file.
    """
    check_made_by_kfit(cluster, workload)
    kind, name = workload["kind"], str(workload["metadata"]["name"])
    cluster.delete(kind, name, foreground=foreground)
    labels = f"{OURS},kfit.dev/{kind.lower()}={name}"
    for companion_kind in ("Service", "NetworkPolicy", "PodDisruptionBudget", "ResourceClaimTemplate"):
        try:
            for companion in cluster.select(companion_kind, labels=labels):
                if not companion["metadata"].get("ownerReferences"):
                    cluster.delete(companion_kind, companion["metadata"]["name"])
        except (AccessError, NotFound):
            continue  # who may not list them did not create them; older clusters do not know claims


def _dry_run_pod(cluster: Cluster, job: Object) -> None:
    """Lets the API server check a pod of the Job: quota and Pod Security look at pods, not at Jobs.

    Raises:
        RefusedError: The pod would not be admitted.
    """
    template = job["spec"]["template"]
    meta = {**template["metadata"], "name": f"{job['metadata']['name'][:55]}-dry-run"}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": template["spec"]}
    try:
        cluster.create(pod, dry_run=True)
    except AccessError as denied:
        raise AccessError(
            f"{denied.what}; the Job alone was checked, and the cluster would take it", remedy=denied.remedy
        ) from denied

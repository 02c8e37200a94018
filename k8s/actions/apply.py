"""Brings the objects of a job file into the cluster, once: what is ours and there stays, what is foreign is refused."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

from k8s.api.client import Cluster, Object
from k8s.chart.yaml_documents import annotation, label
from k8s.errors import AccessError, AlreadyExists, Conflict, RefusedError

#: Names by kind.
Taken = Mapping[str, Set[str]]


class Done(enum.Enum):
    """What became of an object."""

    CREATED = "created"
    CHANGED = "changed"
    UNCHANGED = "unchanged"


@dataclass(frozen=True)
class Submitted:
    """What became of a job file.

    Attributes:
        workload: The Job or CronJob as the cluster has it.
        done: What became of it.
        objects: What became of each object, by `Kind/name`.
    """

    workload: Object
    done: Done
    objects: dict[str, Done]

    @property
    def name(self) -> str:
        """Its name: the run's, for a Job."""
        return str(self.workload["metadata"]["name"])


def submit(
    cluster: Cluster, manifests: Sequence[Object], *, dry_run: bool = False, taken: Taken | None = None
) -> Submitted:
    """Creates what is not there, changes what may change, and has the Job own the rest.

    Every object is looked at before the first is written, so a name that is taken leaves all as it was.

    Args:
        cluster: Where.
        manifests: Of one job file, the Job or CronJob last.
        dry_run: Have the API server check everything and keep nothing.
        taken: Names that are taken, where they were listed before; else each is asked for.

    Raises:
        RefusedError: A name is taken by a foreign object, or the cluster does not want it.
    """
    order = sorted(manifests, key=_turn)
    there = [_look(cluster, m, taken) for m in order]
    brought: list[tuple[Object, Done]] = []
    top: Object | None = None
    try:
        for manifest, found in zip(order, there, strict=True):
            live, done = _bring(cluster, _owned(manifest, top), found, dry_run)
            brought.append((live, done))
            top = live if manifest is manifests[-1] else top
    except (RefusedError, AccessError):
        for live, done in brought:
            if done is Done.CREATED and not dry_run:
                cluster.delete(live["kind"], live["metadata"]["name"])
        raise
    assert top is not None, "the Job or CronJob is one of the manifests"
    if not dry_run:
        for live, _ in brought:
            own(cluster, top, live)
    objects = {f"{live['kind']}/{live['metadata']['name']}": done for live, done in brought}
    result = Submitted(top, objects[f"{top['kind']}/{top['metadata']['name']}"], objects)
    if dry_run and top["kind"] == "Job" and result.done is Done.CREATED:
        _try_pod(cluster, manifests[-1])
    return result


def _turn(manifest: Object) -> int:
    """The order in which a job file's objects are made.

    The Job is made before what it owns, so that nothing is left over where the launcher dies in between, and
    the ConfigMap last: no container starts without it, so none starts without its NetworkPolicy. Only a
    service account must be there when the Job's pod is made.
    """
    return {"ServiceAccount": 0, "Job": 1, "CronJob": 1, "ConfigMap": 3}.get(manifest["kind"], 2)


def _owned(manifest: Object, top: Object | None) -> Object:
    """The manifest with its owner, where that is there already."""
    if top is None:
        return manifest
    return {**manifest, "metadata": {**manifest["metadata"], "ownerReferences": [owner(top)]}}


def taken_names(cluster: Cluster, manifests: Iterable[Object]) -> Taken | None:
    """Names that are taken, by kind: one list for a kind, cheaper than many questions. None without the right."""
    try:
        return {kind: cluster.names(kind) for kind in {m["kind"] for m in manifests}}
    except AccessError:
        return None


def _look(cluster: Cluster, manifest: Object, taken: Taken | None) -> Object | None:
    """What is there under the manifest's name, ours for sure; None where nothing is."""
    kind, name = manifest["kind"], manifest["metadata"]["name"]
    if taken is not None and name not in taken[kind]:
        return None
    found = cluster.find(kind, name)
    if found is not None:
        check_ours(manifest, found)
    return found


def check_ours(manifest: Object, found: Object) -> None:
    """Refuses an object that another tool, another job or another file has made.

    Raises:
        RefusedError: It is not ours.
    """
    name = manifest["metadata"]["name"]
    where = f"{manifest['kind']} {name}"
    remedy = "choose another `name:` in the job file, or delete that object"
    for key in ("app.kubernetes.io/part-of", "app.kubernetes.io/instance"):
        if label(found, key) != label(manifest, key):
            what = f"an object of this name is there, and it is not this job's ({key}: {label(found, key) or 'none'})"
            raise RefusedError(what, where=where, remedy=remedy)
    if manifest["kind"] == "Job" and annotation(found, "values-hash") != annotation(manifest, "values-hash"):
        raise RefusedError("a Job of this name is there with other values", where=where, remedy=remedy)
    if manifest["kind"] == "ConfigMap" and found.get("data") != manifest.get("data"):
        raise RefusedError("a ConfigMap of this name is there with another job file", where=where, remedy=remedy)


def _bring(cluster: Cluster, manifest: Object, found: Object | None, dry_run: bool) -> tuple[Object, Done]:
    if found is None:
        try:
            return cluster.create(manifest, dry_run=dry_run), Done.CREATED
        except AlreadyExists:
            # Somebody was quicker by a moment: another launcher with the same file, or a stranger.
            found = cluster.get(manifest["kind"], manifest["metadata"]["name"])
            check_ours(manifest, found)
    found = {"kind": manifest["kind"], "apiVersion": manifest["apiVersion"], **found}
    if manifest["kind"] in ("Job", "ConfigMap", "ResourceClaimTemplate"):
        return found, Done.UNCHANGED  # its name holds the hash of all that shapes it
    try:
        live = cluster.replace(_over(manifest, found), dry_run=dry_run)
    except Conflict:
        live = cluster.replace(_over(manifest, cluster.get(manifest["kind"], manifest["metadata"]["name"])))
    same = live["metadata"]["resourceVersion"] == found["metadata"]["resourceVersion"]
    same = same or (dry_run and live.get("spec") == found.get("spec"))
    return live, Done.UNCHANGED if same else Done.CHANGED


def _over(manifest: Object, found: Object) -> Object:
    """The manifest as a new version of what is there; owners and others' labels stay."""
    meta = dict(found["metadata"])
    meta.pop("managedFields", None)
    for key in ("labels", "annotations"):
        meta[key] = {**(meta.get(key) or {}), **(manifest["metadata"].get(key) or {})}
    return {**{k: v for k, v in found.items() if k != "status"}, **manifest, "metadata": meta}


def owner(top: Object, *, controller: bool = False) -> Object:
    """An owner reference to a Job or CronJob. It never blocks the owner's deletion: that asks one right more."""
    meta = top["metadata"]
    reference = {"apiVersion": "batch/v1", "kind": top["kind"], "name": meta["name"], "uid": meta["uid"]}
    return reference | ({"controller": True} if controller else {})


def own(cluster: Cluster, top: Object, live: Object) -> None:
    """Has an object go when its Job or CronJob goes; with several owners, when the last goes."""
    if live["metadata"]["uid"] == top["metadata"]["uid"]:
        return
    owners = live["metadata"].get("ownerReferences") or []
    if any(reference["uid"] == top["metadata"]["uid"] for reference in owners):
        return
    change = {"metadata": {"ownerReferences": [*owners, owner(top)]}}
    cluster.patch(live["kind"], live["metadata"]["name"], change)


def sweep(cluster: Cluster, labels: str) -> None:
    """Deletes what belongs to a Job or CronJob but is not owned by it: plain kubectl made it."""
    for kind in ("ConfigMap", "Service", "NetworkPolicy"):
        try:
            for found in cluster.select(kind, labels=labels):
                if not found["metadata"].get("ownerReferences"):
                    cluster.delete(kind, found["metadata"]["name"])
        except AccessError:
            continue  # who may not list them has not made them


def _try_pod(cluster: Cluster, job: Object) -> None:
    """Has the API server check a pod of the Job: quota and Pod Security look at pods, not at Jobs.

    Raises:
        RefusedError: A pod would not be let in.
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

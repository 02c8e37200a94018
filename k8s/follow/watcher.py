"""What there is to see of a Job in a real cluster: once, or kept up to date by watches in threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from k8s.api.client import Cluster, Cut, Gone, Object
from k8s.errors import AccessError, ClusterError, NotFound
from k8s.status.job_state import Seen, State, queue_of, read
from k8s.status.pods import has_started
from trainer.errors import KfitError

#: Without any answer for so long, watching ends; the Job goes on.
GIVE_UP_S = 300.0


class Watch:
    """Keeps what is seen of one Job up to date.

    Args:
        cluster: Where it is.
        name: The Job.
        changed: Called after every change, from other threads.
    """

    def __init__(self, cluster: Cluster, name: str, changed: Callable[[], None]) -> None:
        self.name = name
        self._cluster, self._changed = cluster, changed
        self._lock = threading.Lock()
        self._objects: dict[str, dict[str, Object]] = {}
        self._pod_events: list[Object] = []
        self._workload: Object | None = None
        self._fault: KfitError | None = None
        self._heard_s = time.monotonic()
        self._stop = threading.Event()

    def start(self) -> None:
        """Begins; the Job must be there.

        Raises:
            NotFound: It is not.
        """
        self._cluster.get("Job", self.name)
        own = f"involvedObject.kind=Job,involvedObject.name={self.name}"
        for kind, labels, fields in (
            ("Job", "", f"metadata.name={self.name}"),
            ("Pod", f"batch.kubernetes.io/job-name={self.name}", ""),
            ("Event", "", own),
        ):
            threading.Thread(target=self._keep, args=(kind, labels, fields), name=f"watch {kind}", daemon=True).start()

    def stop(self) -> None:
        """Ends the threads, each at its next turn."""
        self._stop.set()

    def seen(self) -> Seen | None:
        """What is seen now; None before all was listed.

        Raises:
            KfitError: Watching is not allowed, or nothing answered for long.
        """
        with self._lock:
            if self._fault is not None:
                raise self._fault
            if time.monotonic() - self._heard_s > GIVE_UP_S:
                raise ClusterError(
                    f"the API server did not answer for {GIVE_UP_S:.0f} s; the Job may well go on",
                    where=self._cluster.server,
                    remedy=f"kfit wait {self.name} goes on waiting",
                )
            if not {"Job", "Pod"} <= self._objects.keys():
                return None
            job = next(iter(self._objects["Job"].values()), None)
            events = [*self._objects.get("Event", {}).values(), *self._pod_events]
            return Seen(job, list(self._objects["Pod"].values()), events, self._workload)

    def look_closer(self) -> None:
        """Asks for what explains waiting: the events of pods that have not started, and Kueue's word."""
        with self._lock:
            job = next(iter(self._objects.get("Job", {}).values()), None)
            waiting = [p["metadata"]["name"] for p in self._objects.get("Pod", {}).values() if not has_started(p)]
        found: list[Object] = []
        for pod in waiting[:4]:
            try:
                found += self._cluster.select("Event", fields=f"involvedObject.name={pod}")
            except (ClusterError, AccessError):
                return
        workload = _workload(self._cluster, job) if job else None
        with self._lock:
            self._pod_events, self._workload = found, workload

    def _keep(self, kind: str, labels: str, fields: str) -> None:
        while not self._stop.is_set():
            try:
                items, version = self._cluster.snapshot(kind, labels=labels, fields=fields)
                self._put(kind, {i["metadata"]["uid"]: i for i in items})
                while not self._stop.is_set():
                    version = self._follow(kind, version, labels, fields)
            except Gone:
                self._stop.wait(0.1)
            except (Cut, ClusterError):
                self._stop.wait(1.0)
            except AccessError as fault:
                if kind == "Event":
                    return  # events only explain; a Role may well leave them out
                self._fail(fault)
                return
            except KfitError as fault:
                self._fail(fault)
                return

    def _follow(self, kind: str, version: str, labels: str, fields: str) -> str:
        for change, found in self._cluster.watch(kind, version, labels=labels, fields=fields):
            version = str(found["metadata"]["resourceVersion"])
            if change != "BOOKMARK":
                with self._lock:
                    items = dict(self._objects[kind])
                if change == "DELETED":
                    items.pop(found["metadata"]["uid"], None)
                else:
                    items[found["metadata"]["uid"]] = found
                self._put(kind, items)
        with self._lock:
            self._heard_s = time.monotonic()
        return version

    def _put(self, kind: str, items: dict[str, Object]) -> None:
        with self._lock:
            self._objects[kind] = items
            self._heard_s = time.monotonic()
        self._changed()

    def _fail(self, fault: KfitError) -> None:
        with self._lock:
            self._fault = fault
        self._changed()


def look(cluster: Cluster, name: str) -> tuple[Seen, State]:
    """What there is to see of a Job now, with the events of its pods.

    Raises:
        NotFound: There is no such Job.
    """
    job = cluster.get("Job", name)
    pods = cluster.select("Pod", labels=f"batch.kubernetes.io/job-name={name}")
    seen = Seen(job, pods, _events(cluster, name), _workload(cluster, job))
    return seen, read(seen)


def _workload(cluster: Cluster, job: Object) -> Object | None:
    """Kueue's object for a Job that its queue holds; None without Kueue, or without the right to it."""
    if not job["spec"].get("suspend") or not queue_of(job):
        return None
    try:
        found = cluster.select("Workload", labels=f"kueue.x-k8s.io/job-uid={job['metadata']['uid']}")
    except (AccessError, NotFound):
        return None
    return found[0] if found else None


def _events(cluster: Cluster, name: str) -> list[Object]:
    """Events of the Job and of every pod it made, the gone ones too; none where the Role leaves them out."""
    try:
        own = cluster.select("Event", fields=f"involvedObject.kind=Job,involvedObject.name={name}")
        made = [str(e.get("message", "")).rpartition(" ")[2] for e in own if e.get("reason") == "SuccessfulCreate"]
        of_pods = [e for pod in made[-5:] for e in cluster.select("Event", fields=f"involvedObject.name={pod}")]
        return list({e["metadata"]["uid"]: e for e in [*own, *of_pods]}.values())
    except (AccessError, NotFound):
        return []

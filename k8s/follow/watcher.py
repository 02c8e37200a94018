"""Observes a Job, its pods and its events: once (`look`), or continuously by watches in threads (`Watch`)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from k8s.api.client import Cluster, Cut, Gone, Object
from k8s.errors import AccessError, ClusterError, NotFound
from k8s.follow import queue_reader
from k8s.status.job_state import Seen, State, read
from k8s.status.pods import has_started
from k8s.status.queue import QueueView
from trainer.errors import KfitError

#: After this time without a response from the API server, watching ends; the Job goes on.
GIVE_UP_S = 300.0


class Watch:
    """Keeps a Job, its pods and its events up to date; calls `changed` after every change, from other threads."""

    def __init__(self, cluster: Cluster, name: str, changed: Callable[[], None]) -> None:
        self.name = name
        self._cluster, self._changed = cluster, changed
        self._lock = threading.Lock()
        self._objects: dict[str, dict[str, Object]] = {}
        self._pod_events: list[Object] = []
        self._queued: QueueView | None = None
        self._fault: KfitError | None = None
        self._answered_s = time.monotonic()
        self._stop = threading.Event()

    def start(self) -> None:
        """Starts the watches.

        Raises:
            NotFound: There is no such Job.
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
        """Asks the threads to end; each does after its current request."""
        self._stop.set()

    def seen(self) -> Seen | None:
        """Returns the latest state; None until the Job and its pods were listed once.

        Raises:
            KfitError: The user may not watch, or the API server did not respond for `GIVE_UP_S`.
        """
        with self._lock:
            if self._fault is not None:
                raise self._fault
            if time.monotonic() - self._answered_s > GIVE_UP_S:
                raise ClusterError(
                    f"the API server did not answer for {GIVE_UP_S:.0f} s; the Job may well go on",
                    where=self._cluster.server,
                    remedy=f"kfit wait {self.name} goes on waiting",
                )
            if not {"Job", "Pod"} <= self._objects.keys():
                return None
            job = next(iter(self._objects["Job"].values()), None)
            events = [*self._objects.get("Event", {}).values(), *self._pod_events]
            return Seen(job, list(self._objects["Pod"].values()), events, self._queued)

    def look_closer(self) -> None:
        """Fetches what explains waiting: events of pods that have not started, and what Kueue knows."""
        with self._lock:
            job = next(iter(self._objects.get("Job", {}).values()), None)
            waiting = [p["metadata"]["name"] for p in self._objects.get("Pod", {}).values() if not has_started(p)]
        events: list[Object] = []
        for pod in waiting[:4]:
            try:
                events += self._cluster.select("Event", fields=f"involvedObject.name={pod}")
            except (ClusterError, AccessError):
                return
        queued = queue_reader.read(self._cluster, job) if job else None
        with self._lock:
            self._pod_events, self._queued = events, queued

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
            except KfitError as fault:
                # Events only explain; a Role may well leave them out.
                if kind != "Event" or not isinstance(fault, AccessError):
                    self._fail(fault)
                return

    def _follow(self, kind: str, version: str, labels: str, fields: str) -> str:
        for change, item in self._cluster.watch(kind, version, labels=labels, fields=fields):
            version = str(item["metadata"]["resourceVersion"])
            if change != "BOOKMARK":
                with self._lock:
                    items = dict(self._objects[kind])
                if change == "DELETED":
                    items.pop(item["metadata"]["uid"], None)
                else:
                    items[item["metadata"]["uid"]] = item
                self._put(kind, items)
        with self._lock:
            self._answered_s = time.monotonic()
        return version

    def _put(self, kind: str, items: dict[str, Object]) -> None:
        with self._lock:
            self._objects[kind] = items
            self._answered_s = time.monotonic()
        self._changed()

    def _fail(self, fault: KfitError) -> None:
        with self._lock:
            self._fault = fault
        self._changed()


def look(cluster: Cluster, name: str) -> tuple[Seen, State]:
    """Returns a Job with its pods and events as they are now, and its state.

    Raises:
        NotFound: There is no such Job.
    """
    job = cluster.get("Job", name)
    pods = cluster.select("Pod", labels=f"batch.kubernetes.io/job-name={name}")
    seen = Seen(job, pods, _events(cluster, name), queue_reader.read(cluster, job))
    return seen, read(seen)


def _events(cluster: Cluster, name: str) -> list[Object]:
    """Returns the events of the Job and of its newest pods, deleted ones too; none without the right to list events."""
    try:
        own = cluster.select("Event", fields=f"involvedObject.kind=Job,involvedObject.name={name}")
        made = [str(e.get("message", "")).rpartition(" ")[2] for e in own if e.get("reason") == "SuccessfulCreate"]
        of_pods = [e for pod in made[-5:] for e in cluster.select("Event", fields=f"involvedObject.name={pod}")]
        return list({e["metadata"]["uid"]: e for e in [*own, *of_pods]}.values())
    except (AccessError, NotFound):
        return []

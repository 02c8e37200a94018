"""The one boundary to Kubernetes: objects in and out, and its errors in words a person can act on.

Objects are plain dictionaries, as the API sends them. Only the handful of paths the launcher needs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from k8s.api import access
from k8s.api.api_errors import fault, reason
from k8s.api.credentials import Impersonation
from k8s.api.kinds import KINDS, collection_path, object_path
from k8s.api.messages import JSON, Reply, Request, is_metadata
from k8s.api.transport import ANSWER_S, PATIENCE_S, Broken, Refused, Transport
from k8s.api.watch_lines import changes
from k8s.errors import ClusterError, NotFound

Object = dict[str, Any]

#: Selects what the chart has made.
OURS = "app.kubernetes.io/part-of=kfit"
#: A watch ends by itself after so long and is asked for again.
WATCH_S = 60
#: A log without a line for so long is asked for again.
QUIET_S = 60.0
_MERGE = "application/merge-patch+json"
_NO_SERVER = "is this an API server?"
#: Of 500 objects: ten times as many as the largest clusters hold.
_MOST_PAGES = 10_000


class Cut(Exception):
    """A watch or a log ended before its end; ask again."""


class Gone(Exception):
    """The watch's starting point is too old; list again."""


class Cluster:
    """One namespace of one cluster, as one user; messages name the context."""

    def __init__(self, transport: Transport, namespace: str, context: str = "") -> None:
        self._transport, self.namespace, self.context = transport, namespace, context

    @classmethod
    def open(
        cls,
        kubeconfig_file: str | None = None,
        context: str | None = None,
        namespace: str | None = None,
        environ: Mapping[str, str] = os.environ,
        patience_s: float = PATIENCE_S,
        *,
        impersonation: Impersonation | None = None,
        request_timeout_s: float | None = None,
        trace: Callable[[str], None] | None = None,
    ) -> Cluster:
        """Returns the cluster that kubectl would speak to. Nothing is sent yet.

        Args:
            kubeconfig_file: As `--kubeconfig`.
            context: As `--context`.
            namespace: As `--namespace`.
            environ: The environment, for `KUBECONFIG`.
            patience_s: Seconds for which a request is tried again.
            impersonation: As `--as`, `--as-group` and `--as-uid`.
            request_timeout_s: As `--request-timeout`: seconds that one request may take, its tries included.
            trace: Gets one line for every request.

        Raises:
            AccessError: There is no kubeconfig, or no such context.
        """
        loaded = access.load(kubeconfig_file, context, namespace, environ, impersonation)
        limit_s = request_timeout_s or max(ANSWER_S, patience_s)
        transport = Transport(loaded, min(patience_s, limit_s), min(ANSWER_S, limit_s), trace=trace)
        return cls(transport, loaded.namespace, loaded.context)

    @property
    def server(self) -> str:
        """URL of the API server."""
        return self._transport.server

    def close(self) -> None:
        """Closes the connections to the server."""
        self._transport.close()

    def version(self) -> str:
        """Returns the version of the API server, such as `v1.34.4`."""
        return str(self._field(self._json(Request("GET", "/version"), "version"), "gitVersion"))

    def get(self, kind: str, name: str) -> Object:
        """Returns one object.

        Raises:
            NotFound: There is no such object.
        """
        answer = self._json(Request("GET", self._object_path(kind, name)), f"{kind} {name}", ("get", kind))
        return self._checked(kind, answer)

    def find(self, kind: str, name: str) -> Object | None:
        """Returns one object; None where there is none of that name."""
        try:
            return self.get(kind, name)
        except NotFound:
            return None

    def select(self, kind: str, *, labels: str = "", fields: str = "", everywhere: bool = False) -> list[Object]:
        """Returns the objects of a kind that match the selectors; `everywhere`: in all namespaces."""
        return self.snapshot(kind, labels=labels, fields=fields, everywhere=everywhere)[0]

    def names(self, kind: str) -> set[str]:
        """Returns the names of all objects of a kind; only their metadata is sent."""
        accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
        items = self._pages(self._collection_path(kind), kind, accept=accept)[0]
        return {str(item["metadata"]["name"]) for item in items}

    def snapshot(
        self, kind: str, *, labels: str = "", fields: str = "", everywhere: bool = False
    ) -> tuple[list[Object], str]:
        """Returns what `select` does, and the resource version of the list, from which a watch goes on."""
        namespace = None if everywhere else self.namespace
        try:
            return self._pages(collection_path(kind, namespace), kind, labels, fields)
        except NotFound:
            if not KINDS[kind].older:
                raise
            return self._pages(collection_path(kind, namespace, older=True), kind, labels, fields)

    def _pages(
        self, path: str, kind: str, labels: str = "", fields: str = "", accept: str = JSON
    ) -> tuple[list[Object], str]:
        items: list[Object] = []
        page: dict[str, str] = {"labelSelector": labels, "fieldSelector": fields, "limit": "500"}
        seen: set[str] = set()
        while True:
            answer = self._json(Request("GET", path, page, accept=accept), KINDS[kind].plural, ("list", kind))
            more, metadata = self._list(kind, answer)
            items += more
            page["continue"] = following = metadata.get("continue", "")
            if not following:
                return items, str(metadata.get("resourceVersion", ""))
            if following in seen or len(seen) == _MOST_PAGES:
                raise ClusterError(f"the list of {KINDS[kind].plural} has no end; {_NO_SERVER}", where=self.server)
            seen.add(following)

    def create(self, manifest: Object, *, dry_run: bool = False) -> Object:
        """Creates an object and returns it; a second try after a lost answer returns what the first one created.

        Raises:
            AlreadyExists: An object of that name was there before.
            RefusedError: The manifest, or a policy of the cluster, does not allow it.
        """
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        self._object_path(kind, name)  # a name that no GET could ask for is refused before anything is made
        request = Request("POST", self._collection_path(kind), _writing(dry_run), manifest)
        reply = self._transport.send(request)
        if reply.status == 409 and reply.tries > 1 and reason(reply) == "AlreadyExists":
            existing = self.get(kind, name)
            if _same_labels(existing, manifest):
                return existing
        return self._object(reply, f"{kind} {name}", ("create", kind))

    def replace(self, manifest: Object, *, dry_run: bool = False) -> Object:
        """Replaces the version of an object that the manifest names, and returns the new one.

        Raises:
            Conflict: It has another version by now.
        """
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        request = Request("PUT", self._object_path(kind, name), _writing(dry_run), manifest)
        return self._json(request, f"{kind} {name}", ("update", kind))

    def patch(self, kind: str, name: str, change: Object) -> Object:
        """Merges a change into an object (RFC 7386) and returns the result."""
        request = Request("PATCH", self._object_path(kind, name), _writing(), change, _MERGE)
        return self._json(request, f"{kind} {name}", ("patch", kind))

    def delete(self, kind: str, name: str, *, foreground: bool = False) -> None:
        """Deletes an object and what it owns; does nothing where there is no such object."""
        body = {"propagationPolicy": "Foreground" if foreground else "Background"}
        reply = self._transport.send(Request("DELETE", self._object_path(kind, name), {}, body))
        if reply.status != 404:
            self._object(reply, f"{kind} {name}", ("delete", kind))

    def watch(self, kind: str, version: str, *, labels: str = "", fields: str = "") -> Iterator[tuple[str, Object]]:
        """Yields changes since a version: ADDED, MODIFIED, DELETED or BOOKMARK, and the object. Ends after `WATCH_S`.

        Raises:
            Cut: The watch was cut.
            Gone: The version is too old.
            ClusterError: What is sent is no watch.
        """
        query = {"watch": "1", "resourceVersion": version, "labelSelector": labels, "fieldSelector": fields}
        query |= {"timeoutSeconds": str(WATCH_S), "allowWatchBookmarks": "true"}
        pieces = self._stream(Request("GET", self._collection_path(kind), query), WATCH_S + 15.0, ("watch", kind))
        for change, item in changes(pieces, self.server):
            if change == "ERROR":
                raise Gone(str(item.get("message", "")))
            yield change, item

    def log(self, pod: str, *, follow: bool, since: str = "", tail: int | None = None) -> Iterator[bytes]:
        """Yields the trainer's log in pieces, every line with its time before it; an empty piece first.

        Args:
            pod: The pod.
            follow: Go on until the container ends.
            since: Only from this second on, RFC 3339.
            tail: Only the newest lines.

        Raises:
            Cut: The log was cut.
            NotFound: The pod is gone.
            RefusedError: The container has not started.
        """
        query = {"container": "trainer", "timestamps": "true", "follow": "true" if follow else ""}
        query |= {"sinceTime": since, "tailLines": "" if tail is None else str(tail)}
        request = Request("GET", f"{self._object_path('Pod', pod)}/log", query)
        return self._stream(request, QUIET_S, ("get", "Pod", "log"))

    def pending_workloads(self, queue: str) -> list[Object]:
        """Returns what waits in a queue of Kueue's, in its order. Asked once: the API behind it may be away for long.

        Raises:
            NotFound: There is no such queue, or no such API.
            ClusterError: The API is away.
            AccessError: The right is missing.
        """
        try:
            return self._pending_workloads(queue, older=False)
        except NotFound:
            return self._pending_workloads(queue, older=True)

    def _pending_workloads(self, queue: str, *, older: bool) -> list[Object]:
        path = f"{object_path('LocalQueue', self.namespace, queue, older=older)}/pendingworkloads"
        what, right = f"LocalQueue {queue}", ("get", "LocalQueue", "pendingworkloads")
        try:
            data = b"".join(self._transport.stream(Request("GET", path, {"limit": "1000"}), ANSWER_S))
        except Broken as lost:
            raise ClusterError(str(lost), where=self.server) from lost
        except Refused as refused:
            raise self._fault(refused.reply, what, right) from refused
        items = self._field(self._object(Reply(200, data, 1), what, right), "items") or []
        return [item for item in items if is_metadata(item.get("metadata"))]

    def serves(self, group: str) -> bool:
        """Returns whether the server has an API group."""
        return self._transport.send(Request("GET", f"/apis/{group}")).status == 200

    def allowed(self, verb: str, kind: str, subresource: str = "") -> bool:
        """Returns whether the user may use a verb on a kind, by a SelfSubjectAccessReview."""
        where = KINDS[kind]
        asked = {"namespace": self.namespace, "verb": verb, "group": where.group, "resource": where.plural}
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": asked | {"subresource": subresource}},
        }
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        return bool(self._json(Request("POST", path, {}, body), "rights")["status"]["allowed"])

    def _collection_path(self, kind: str) -> str:
        return collection_path(kind, self.namespace)

    def _object_path(self, kind: str, name: str) -> str:
        return object_path(kind, self.namespace, name)

    def _stream(self, request: Request, quiet_s: float, right: tuple[str, ...]) -> Iterator[bytes]:
        try:
            yield from self._transport.stream(request, quiet_s)
        except Broken as lost:
            raise Cut(str(lost)) from lost
        except Refused as refused:
            status = refused.reply.status
            if status == 410:
                raise Gone(str(status)) from refused
            if status == 429 or status >= 500:
                raise Cut(f"HTTP {status}") from refused
            raise self._fault(refused.reply, request.path.rpartition("/pods/")[2], right) from refused

    def _json(self, request: Request, what: str, right: tuple[str, ...] = ()) -> Object:
        return self._object(self._transport.send(request), what, right)

    def _object(self, reply: Reply, what: str, right: tuple[str, ...]) -> Object:
        if reply.status >= 300:
            raise self._fault(reply, what, right)
        try:
            document = json.loads(reply.data)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise ClusterError(f"the answer is no JSON document; {_NO_SERVER}", where=self.server)
        return document

    def _fault(self, reply: Reply, what: str, right: tuple[str, ...]) -> Exception:
        return fault(reply, what, right, self.namespace, self.context)

    def _list(self, kind: str, answer: Object) -> tuple[list[Object], Object]:
        """Returns the objects of a list, each a whole manifest, and the list's metadata.

        Raises:
            ClusterError: It is no list of objects.
        """
        items, metadata = self._field(answer, "items") or [], self._field(answer, "metadata")
        if not isinstance(items, list) or not is_metadata(metadata):
            raise ClusterError(f"the answer is no list of {KINDS[kind].plural}; {_NO_SERVER}", where=self.server)
        return [self._checked(kind, item) for item in items], metadata

    def _checked(self, kind: str, value: Any) -> Object:
        """Returns an object with what a list leaves out of its items: `apiVersion` and `kind`.

        Raises:
            ClusterError: It is no object of the API: its name is no text, or a part of it no mapping.
        """
        sound = isinstance(value, dict) and is_metadata(value.get("metadata"))
        if not sound or not all(isinstance(value.get(part, {}), dict) for part in ("spec", "status")):
            raise ClusterError(f"the answer is no {kind}; {_NO_SERVER}", where=self.server)
        if not isinstance(value["metadata"].get("name"), str):
            raise ClusterError(f"the answer is a {kind} without a name; {_NO_SERVER}", where=self.server)
        whole: Object = {"apiVersion": KINDS[kind].api_version, "kind": kind} | value
        return whole

    def _field(self, document: Object, name: str) -> Any:
        if name not in document:
            raise ClusterError(f"the answer has no {name!r}; {_NO_SERVER}", where=self.server)
        return document[name]


def _writing(dry_run: bool = False) -> dict[str, str]:
    """Returns the query of a write: an unknown or doubled field is refused, where the server would drop it."""
    return {"fieldValidation": "Strict", "dryRun": "All" if dry_run else ""}


def _same_labels(existing: Object, manifest: Object) -> bool:
    labels = manifest["metadata"].get("labels") or {}
    return (existing["metadata"].get("labels") or {}).items() >= labels.items()

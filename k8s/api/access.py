"""The cluster and the user that kubectl would choose: from kubeconfig files, or from a pod's service account.

The package `kubernetes` reads and merges the files; what it leaves open is decided here, as kubectl decides it
(docs/decisions/0011). It is imported inside functions: only a verb that speaks to a cluster pays for it.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from k8s.api.credentials import Impersonation
from k8s.errors import AccessError

if TYPE_CHECKING:
    from k8s.api.connection import Connection

_FILES = ("certificate-authority", "client-certificate", "client-key", "tokenFile")


@dataclass(frozen=True)
class Access:
    """One cluster as one user.

    Attributes:
        server: URL of the API server.
        namespace: The namespace that flags or context name, else `default`.
        context: Name of the context, for messages.
        connect: Reads all files anew, asks credential plugins, and returns a connection that has sent nothing yet.
            Called again after a 401, since tokens and files are rotated.
    """

    server: str
    namespace: str
    context: str
    connect: Callable[[], Connection]


def load(
    kubeconfig: str | None,
    context: str | None,
    namespace: str | None,
    environ: Mapping[str, str] = os.environ,
    impersonation: Impersonation | None = None,
) -> Access:
    """Finds cluster and user as kubectl does.

    Args:
        kubeconfig: The file; else those of `KUBECONFIG`, merged; else ~/.kube/config; else the pod's service account.
        context: A context in it; the current one by default.
        namespace: The context's by default, else `default`.
        environ: The environment.
        impersonation: Flags that override the kubeconfig's `as`, `as-groups` and so on.

    Raises:
        AccessError: There is no configuration or no such context, or the files cannot be read.
    """
    flags = impersonation or Impersonation()
    named = kubeconfig or environ.get("KUBECONFIG", "")
    names = [kubeconfig] if kubeconfig else [name for name in named.split(os.pathsep) if name]
    files = [path for path in map(Path, names or [str(Path.home() / ".kube" / "config")]) if path.exists()]
    if files:
        chosen = _choose(files, context)
        return Access(
            server=chosen.cluster["server"].rstrip("/"),
            namespace=namespace or str(chosen.context.get("namespace") or "default"),
            context=chosen.name,
            connect=lambda: _choose(files, context).connect(flags),
        )
    if not named and not context and environ.get("KUBERNETES_SERVICE_HOST"):
        return _in_pod(namespace, flags)
    raise AccessError(
        "no kubeconfig", where=named or "~/.kube/config", remedy="name one: --kubeconfig FILE, or set KUBECONFIG"
    )


@dataclass(frozen=True)
class _Chosen:
    """A context with its cluster and its user; paths in them are absolute."""

    name: str
    context: Mapping[str, Any]
    cluster: Mapping[str, Any]
    user: Mapping[str, Any]
    save_user: Callable[[], None]

    def connect(self, flags: Impersonation) -> Connection:
        from k8s.api.connection import from_kubeconfig

        return from_kubeconfig(self.cluster, self.user, f"context {self.name!r}", self.save_user, flags)


def _choose(files: list[Path], context: str | None) -> _Chosen:
    merged, current = _merge(files)
    name = context or current
    contexts = merged["contexts"]
    if name not in contexts:
        what = f"no context {name!r}" if name else "no current context"
        known = ", ".join(sorted(map(str, contexts))) or "none"
        raise AccessError(what, where="kubeconfig", remedy=f"--context is one of: {known}")
    chosen = contexts[name].value.get("context") or {}
    where = f"context {name!r}"
    cluster = merged["clusters"].get(chosen.get("cluster"))
    if cluster is None:
        raise AccessError(f"its cluster {chosen.get('cluster')!r} is not in the kubeconfig", where=where)
    user = merged["users"].get(chosen.get("user"))
    if user is None and chosen.get("user"):
        raise AccessError(f"its user {chosen['user']!r} is not in the kubeconfig", where=where)
    return _Chosen(
        name=str(name),
        context=chosen,
        cluster=_entry(cluster, "cluster", where),
        user=_entry(user, "user", where) if user is not None else {},
        save_user=lambda: _save(Path(user.path), merged["files"][user.path]) if user is not None else None,
    )


def _merge(files: list[Path]) -> tuple[dict[str, Any], str]:
    """Returns the entries of all files by kind and name, the first of a name; and the first current context."""
    import yaml
    from kubernetes.config import ConfigException
    from kubernetes.config.kube_config import KubeConfigMerger

    merger, current = KubeConfigMerger(""), ""
    for path in files:
        try:
            merger.load_config(str(path))
        except ConfigException:
            continue  # an empty file, which kubectl passes over
        except (OSError, ValueError, yaml.YAMLError) as broken:
            # Without the text around it, which may hold a token: PyYAML adds none to what it reads from a file.
            why = " ".join(str(broken).split())
            raise AccessError(f"cannot read the kubeconfig: {why}", where=str(path)) from None
        except (TypeError, KeyError, AttributeError, RecursionError):
            remedy = "name one: --kubeconfig FILE, or set KUBECONFIG"
            raise AccessError("not a kubeconfig", where=str(path), remedy=remedy) from None
        current = current or str(merger.config.value.get("current-context") or "")
    entries = merger.config.value if merger.config else {}
    merged: dict[str, Any] = {"contexts": {}, "clusters": {}, "users": {}}
    for kind, by_name in merged.items():
        for entry in entries.get(kind, ()):
            value = entry.value
            if not isinstance(value, dict) or not isinstance(value.get(kind[:-1]) or {}, dict):
                raise AccessError(f"not a kubeconfig: its {kind} are no list of entries", where=entry.path)
            by_name[value.get("name")] = entry
    return merged | {"files": merger.config_files}, current


def _entry(entry: Any, kind: str, where: str) -> dict[str, Any]:
    """Returns a cluster or a user, checked; its paths are relative to the file it stands in and become absolute."""
    from k8s.api.kubeconfig import check

    folder = Path(entry.path).absolute().parent
    value = dict(entry.value.get(kind) or {})
    check(kind, value, where)
    value |= {name: str(folder / value[name]) for name in _FILES if value.get(name)}
    plugin = value.get("exec")
    if plugin and os.sep in plugin["command"]:
        value["exec"] = plugin | {"command": str(folder / plugin["command"])}
    return value


def _save(path: Path, document: Mapping[str, Any]) -> None:
    """Writes a kubeconfig whose OIDC tokens were renewed, whole or not at all: a refresh token may serve only once."""
    import yaml

    target = path.resolve()
    with tempfile.NamedTemporaryFile("w", dir=target.parent, prefix=f".{target.name}-", delete=False) as file:
        try:
            yaml.safe_dump(document, file, default_flow_style=False, sort_keys=False)
            os.fchmod(file.fileno(), stat.S_IMODE(target.stat().st_mode))
            file.flush()
            Path(file.name).replace(target)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def _in_pod(namespace: str | None, flags: Impersonation) -> Access:
    from kubernetes.config import incluster_config

    from k8s.api.connection import from_pod, pod_configuration

    own = Path(incluster_config.SERVICE_TOKEN_FILENAME).with_name("namespace")
    try:
        namespace = namespace or own.read_text().strip()
    except OSError as missing:
        raise AccessError(
            f"no kubeconfig, and the pod has no service account: {missing.strerror}",
            where=str(own),
            remedy="name a kubeconfig: --kubeconfig FILE, or set automountServiceAccountToken: true",
        ) from missing
    return Access(pod_configuration().host, namespace, "in-cluster", lambda: from_pod(flags))

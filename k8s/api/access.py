"""Which cluster, and who asks: kubeconfig files as kubectl reads them, or a pod's own service account.

Apart from the package `kubernetes`, whose import alone takes longer than `kfit status` may.
"""

from __future__ import annotations

import base64
import json
import os
import ssl
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from k8s.errors import AccessError

_IN_POD = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_EXEC_API = "client.authentication.k8s.io/v1"


@dataclass(frozen=True)
class Credentials:
    """Who asks.

    Attributes:
        headers: HTTP headers that say so.
        certificate: Client certificate and key, PEM.
    """

    headers: Mapping[str, str] = field(default_factory=dict)
    certificate: tuple[bytes, bytes] | None = None


@dataclass(frozen=True)
class Access:
    """One cluster as one user.

    Attributes:
        server: URL of the API server.
        namespace: The namespace asked for.
        context: Name of the context, for messages.
        cluster: The kubeconfig's `cluster`, its files' contents in the `-data` keys.
        credentials: Gives who asks; asked again after a 401, since tokens expire.
    """

    server: str
    namespace: str
    context: str
    cluster: Mapping[str, Any]
    credentials: Callable[[], Credentials]

    def tls(self, credentials: Credentials) -> ssl.SSLContext:
        """The TLS settings of a connection."""
        try:
            return _tls(self.cluster, credentials)
        except (OSError, ValueError) as broken:
            raise AccessError(
                f"certificates cannot be used: {broken}",
                where=f"context {self.context!r}",
                remedy="write the kubeconfig again",
            ) from broken


def load(
    kubeconfig: str | None, context: str | None, namespace: str | None, environ: Mapping[str, str] = os.environ
) -> Access:
    """Finds cluster and user as kubectl does.

    Args:
        kubeconfig: The file; else `KUBECONFIG` (several are merged), else ~/.kube/config, else the pod's own.
        context: Its context; the current one by default.
        namespace: The context's by default, else `default`.
        environ: The environment.

    Raises:
        AccessError: No configuration, no such context, or one that is not whole.
    """
    named = kubeconfig or environ.get("KUBECONFIG", "")
    files = [Path(name) for name in ([kubeconfig] if kubeconfig else named.split(os.pathsep)) if name]
    found = [path for path in files or [Path.home() / ".kube" / "config"] if path.is_file()]
    if not found:
        if not named and not context and "KUBERNETES_SERVICE_HOST" in environ and (_IN_POD / "token").exists():
            return _in_pod(namespace, environ)
        raise AccessError(
            "no kubeconfig", where=named or "~/.kube/config", remedy="name one: --kubeconfig FILE, or set KUBECONFIG"
        )
    return _from_config(_merged(found), context, namespace)


def contexts(kubeconfig: str | None, environ: Mapping[str, str] = os.environ) -> list[str]:
    """Names of the contexts, for completion."""
    named = kubeconfig or environ.get("KUBECONFIG", "") or str(Path.home() / ".kube" / "config")
    return list(_merged([Path(n) for n in named.split(os.pathsep) if Path(n).is_file()])["contexts"])


def _merged(files: list[Path]) -> dict[str, Any]:
    """All files as one; what comes first wins, as in kubectl."""
    merged: dict[str, Any] = {"clusters": {}, "users": {}, "contexts": {}, "current-context": ""}
    for path in files:
        document = _read(path)
        merged["current-context"] = merged["current-context"] or document.get("current-context") or ""
        for kind in ("clusters", "users", "contexts"):
            for entry in document.get(kind) or []:
                value = entry.get(kind.removesuffix("s")) or {}
                merged[kind].setdefault(entry.get("name"), _absolute(value, path.parent))
    return merged


def _read(path: Path) -> dict[str, Any]:
    import yaml

    try:
        document = yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as broken:
        raise AccessError(f"cannot read the kubeconfig: {broken}", where=str(path)) from broken
    if not isinstance(document, dict):
        raise AccessError("not a kubeconfig", where=str(path), remedy="name one: --kubeconfig FILE")
    return document


def _absolute(value: dict[str, Any], folder: Path) -> dict[str, Any]:
    files = ("certificate-authority", "client-certificate", "client-key", "tokenFile")
    return {k: str(folder / v) if k in files and v else v for k, v in value.items()}


def _from_config(config: dict[str, Any], context: str | None, namespace: str | None) -> Access:
    name = context or config["current-context"]
    if name not in config["contexts"]:
        there = ", ".join(sorted(config["contexts"])) or "none"
        what = f"no context {name!r}" if name else "no current context"
        raise AccessError(what, where="kubeconfig", remedy=f"--context is one of: {there}")
    chosen = config["contexts"][name]
    where = f"context {name!r}"
    cluster = config["clusters"].get(chosen.get("cluster"))
    if cluster is None or not cluster.get("server"):
        raise AccessError(f"its cluster {chosen.get('cluster')!r} is not in the kubeconfig", where=where)
    user = config["users"].get(chosen.get("user"), {})
    return Access(
        server=str(cluster["server"]).rstrip("/"),
        namespace=namespace or chosen.get("namespace") or "default",
        context=str(name),
        cluster=cluster,
        credentials=lambda: _credentials(user, cluster, where),
    )


def _in_pod(namespace: str | None, environ: Mapping[str, str]) -> Access:
    host, port = environ["KUBERNETES_SERVICE_HOST"], environ.get("KUBERNETES_SERVICE_PORT", "443")
    own = (_IN_POD / "namespace").read_text().strip()
    return Access(
        server=f"https://{f'[{host}]' if ':' in host else host}:{port}",
        namespace=namespace or own,
        context="in-cluster",
        cluster={"certificate-authority": str(_IN_POD / "ca.crt")},
        credentials=lambda: _credentials({"tokenFile": str(_IN_POD / "token")}, {}, "the pod's service account"),
    )


def _credentials(user: Mapping[str, Any], cluster: Mapping[str, Any], where: str) -> Credentials:
    headers: dict[str, str] = {}
    certificate = _pair(_data(user, "client-certificate"), _data(user, "client-key"))
    if "exec" in user:
        status = _ask_plugin(user["exec"], cluster, where)
        token = status.get("token", "")
        pem = _pair(*(str(status.get(k, "")).encode() for k in ("clientCertificateData", "clientKeyData")))
        certificate = pem or certificate
    elif "auth-provider" in user:
        raise AccessError(
            f"the auth-provider {user['auth-provider'].get('name')!r} is of a kind Kubernetes has given up",
            where=where,
            remedy="use an exec plugin for the user, kubelogin for OIDC",
        )
    else:
        token = user.get("token") or (_text(user["tokenFile"]) if user.get("tokenFile") else "")
    if token:
        headers["Authorization"] = f"Bearer {token}"
    elif user.get("username"):
        pair = f"{user['username']}:{user.get('password', '')}".encode()
        headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
    if user.get("as"):
        headers["Impersonate-User"] = str(user["as"])
    return Credentials(headers, certificate)


def _pair(certificate: bytes, key: bytes) -> tuple[bytes, bytes] | None:
    return (certificate, key) if certificate and key else None


def _data(entry: Mapping[str, Any], key: str) -> bytes:
    try:
        if entry.get(f"{key}-data"):
            return base64.b64decode(entry[f"{key}-data"])
        return Path(entry[key]).read_bytes() if entry.get(key) else b""
    except (OSError, ValueError) as broken:
        raise AccessError(f"cannot read {key}: {broken}", where="kubeconfig") from broken


def _text(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError as broken:
        raise AccessError(f"cannot read the token: {broken}", where="kubeconfig") from broken


def _ask_plugin(plugin: Mapping[str, Any], cluster: Mapping[str, Any], where: str) -> dict[str, Any]:
    """What a credential plugin (aws, gke-gcloud-auth-plugin, kubelogin) says."""
    api = plugin.get("apiVersion") or _EXEC_API
    shown = dict(cluster) if plugin.get("provideClusterInfo") else None
    info = {"kind": "ExecCredential", "apiVersion": api, "spec": {"interactive": False, "cluster": shown}}
    own = {entry["name"]: entry["value"] for entry in plugin.get("env") or []}
    command = [plugin["command"], *(plugin.get("args") or [])]
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **own, "KUBERNETES_EXEC_INFO": json.dumps(info)},
            stdout=subprocess.PIPE,
            timeout=120,
            check=True,
        )
        status: dict[str, Any] = json.loads(done.stdout)["status"]
    except FileNotFoundError as missing:
        hint = plugin.get("installHint") or "install it, or put it on PATH"
        raise AccessError(f"the credential plugin {command[0]!r} is missing", where=where, remedy=hint) from missing
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError) as broken:
        raise AccessError(
            f"the credential plugin failed: {broken}", where=where, remedy=f"run it by hand: {' '.join(command)}"
        ) from broken
    return status


def _tls(cluster: Mapping[str, Any], credentials: Credentials) -> ssl.SSLContext:
    authority = _data(cluster, "certificate-authority")
    tls = ssl.create_default_context(cadata=authority.decode() if authority else None)
    if cluster.get("insecure-skip-tls-verify"):
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
    if credentials.certificate:
        # The ssl module takes them from a file only.
        with tempfile.NamedTemporaryFile(prefix="kfit-") as file:
            file.write(b"\n".join(credentials.certificate))
            file.flush()
            tls.load_cert_chain(file.name)
    return tls

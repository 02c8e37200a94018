"""Who asks: what a kubeconfig's user says, made ready for the package `kubernetes`.

The package takes no error of a credential plugin for one, hides a plugin's prompts, knows no impersonation and
writes client keys to files. So plugins are asked here, and certificates stay in memory (docs/decisions/0011).
No message of this module holds a token, a password or a key.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from k8s.errors import AccessError

_EXEC_API = "client.authentication.k8s.io/v1"
#: How long a plugin may take that cannot ask a person anything.
_PLUGIN_S = 120.0
#: What a header's name may hold beside letters and digits; `%` begins an escape.
_HEADER_SAFE = "!#$&'*+-.^_`|~"


@dataclass(frozen=True)
class Impersonation:
    """Whom the user acts as: kubectl's `--as`, `--as-group`, `--as-uid`; empty is what the kubeconfig says."""

    user: str = ""
    groups: Sequence[str] = ()
    uid: str = ""


@dataclass(frozen=True)
class Credentials:
    """Who asks.

    Attributes:
        user: A kubeconfig's user for `KubeConfigLoader`: a token or an auth-provider, no file and no plugin.
        certificate: Client certificate and key, PEM; None without one.
        headers: A password (UTF-8; the package takes Latin-1) and impersonation; a name may come several times.
    """

    user: Mapping[str, Any] = field(default_factory=dict)
    certificate: tuple[bytes, bytes] | None = None
    headers: Sequence[tuple[str, str]] = ()


def read(user: Mapping[str, Any], cluster: Mapping[str, Any], where: str, flags: Impersonation) -> Credentials:
    """Returns who asks: files are read and the credential plugin is run.

    Args:
        user: A kubeconfig's user, with absolute paths.
        cluster: Its cluster, for plugins that ask for it.
        where: The context, for messages.
        flags: Override the user's impersonation.

    Raises:
        AccessError: The user contradicts itself, a file cannot be read, or the plugin fails.
    """
    _check(user, where)
    headers = impersonation_headers(user, flags, where)
    certificate = _pair(user, where)
    token = str(user.get("token") or "")
    if user.get("tokenFile"):  # it wins, for it is rotated
        token = _read_file(user["tokenFile"], "tokenFile", where).decode(errors="replace")
    elif user.get("exec") and not token:
        token, made = _ask_plugin(user["exec"], cluster, where)
        certificate = made or certificate
    if token.strip():
        return Credentials({"token": token.strip()}, certificate, headers)
    if user.get("username") or user.get("password"):
        pair = f"{user.get('username') or ''}:{user.get('password') or ''}"
        basic = f"Basic {base64.b64encode(pair.encode()).decode()}"
        return Credentials({}, certificate, [("Authorization", basic), *headers])
    oidc = {"auth-provider": user["auth-provider"]} if user.get("auth-provider") else {}
    return Credentials(oidc, certificate, headers)


def impersonation_headers(user: Mapping[str, Any], flags: Impersonation, where: str) -> list[tuple[str, str]]:
    """Returns the headers that let the API server treat the request as another user's.

    Raises:
        AccessError: Groups, uid or extras without a user: sent without it, the request would be one's own.
    """
    name = flags.user or str(user.get("as") or "")
    headers = [("Impersonate-Group", str(g)) for g in flags.groups or user.get("as-groups") or ()]
    uid = flags.uid or str(user.get("as-uid") or "")
    headers += [("Impersonate-Uid", uid)] if uid else []
    for key, values in (user.get("as-user-extra") or {}).items():
        headers += [(f"Impersonate-Extra-{quote(str(key), safe=_HEADER_SAFE)}", str(value)) for value in values]
    if headers and not name:
        raise AccessError(
            "groups, uid or extras to impersonate, and no user",
            where=where,
            remedy="name the user too: `as:` in the kubeconfig, or --as",
        )
    return [("Impersonate-User", name), *headers] if name else []


def file_or_data(entry: Mapping[str, Any], key: str, where: str) -> bytes:
    """Returns what `KEY-data` (base64) or the file `KEY` holds; empty without both. Data wins, as in kubectl."""
    if not entry.get(f"{key}-data"):
        return _read_file(entry[key], key, where) if entry.get(key) else b""
    try:
        return base64.b64decode(entry[f"{key}-data"], validate=True)
    except (ValueError, TypeError):
        raise AccessError(f"{key}-data is not base64", where=where, remedy="write the kubeconfig again") from None


def _check(user: Mapping[str, Any], where: str) -> None:
    ways = [name for name in ("exec", "auth-provider") if user.get(name)]
    ways += ["token"] if user.get("token") or user.get("tokenFile") else []
    ways += ["password"] if user.get("username") or user.get("password") else []
    for two in ({"exec", "auth-provider"}, {"token", "password"}):
        if two <= set(ways):
            raise AccessError(
                f"its user has {' and '.join(sorted(two))}", where=where, remedy="keep one of them in the kubeconfig"
            )
    provider = user.get("auth-provider") or {}
    if provider and provider.get("name") != "oidc":
        raise AccessError(
            f"the auth-provider {provider.get('name')!r} is of a kind that Kubernetes has removed",
            where=where,
            remedy="use an exec plugin for the user",
        )


def _pair(user: Mapping[str, Any], where: str) -> tuple[bytes, bytes] | None:
    certificate, key = (file_or_data(user, name, where) for name in ("client-certificate", "client-key"))
    if bool(certificate) != bool(key):
        missing = "client-key" if certificate else "client-certificate"
        raise AccessError(f"its user has no {missing}", where=where, remedy="write the kubeconfig again")
    return (certificate, key) if certificate else None


def _read_file(path: str, key: str, where: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as broken:
        raise AccessError(f"cannot read its {key} {path}: {broken.strerror}", where=where) from broken


def _ask_plugin(
    plugin: Mapping[str, Any], cluster: Mapping[str, Any], where: str
) -> tuple[str, tuple[bytes, bytes] | None]:
    """Returns the token, or certificate and key, of a credential plugin (aws, gke-gcloud-auth-plugin, kubelogin).

    A plugin may ask a person: its stderr is ours, and its stdin where that is a terminal.
    """
    command = [str(plugin.get("command") or ""), *map(str, plugin.get("args") or [])]
    mode = plugin.get("interactiveMode") or "IfAvailable"
    interactive = sys.stdin is not None and sys.stdin.isatty() and mode != "Never"
    remedy = f"run it by hand: {' '.join(command)}"
    if mode == "Always" and not interactive:
        raise AccessError(f"the credential plugin {command[0]!r} asks a person, and there is no terminal", where=where)
    own = {str(entry["name"]): str(entry["value"]) for entry in plugin.get("env") or []}
    info = json.dumps(_exec_info(plugin, cluster, where, interactive))
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **own, "KUBERNETES_EXEC_INFO": info},
            stdin=None if interactive else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            timeout=None if interactive else _PLUGIN_S,
            check=True,
        )
    except FileNotFoundError as missing:
        hint = plugin.get("installHint") or "install it, or put it on PATH"
        raise AccessError(f"the credential plugin {command[0]!r} is missing", where=where, remedy=hint) from missing
    except (OSError, subprocess.SubprocessError) as broken:
        raise AccessError(f"the credential plugin failed: {broken}", where=where, remedy=remedy) from broken
    try:
        status = json.loads(done.stdout)["status"]
        token = str(status.get("token") or "")
        pair = tuple(str(status.get(key) or "").encode() for key in ("clientCertificateData", "clientKeyData"))
    except (ValueError, KeyError, TypeError, AttributeError):
        # `from None`: what it printed may be a token.
        raise AccessError("the credential plugin gave no ExecCredential", where=where, remedy=remedy) from None
    if not token and not all(pair):
        raise AccessError("the credential plugin gave no token and no certificate", where=where, remedy=remedy)
    return token, (pair[0], pair[1]) if all(pair) else None


def _exec_info(plugin: Mapping[str, Any], cluster: Mapping[str, Any], where: str, interactive: bool) -> dict[str, Any]:
    """Returns what a plugin finds in `KUBERNETES_EXEC_INFO`."""
    spec: dict[str, Any] = {"interactive": interactive}
    if plugin.get("provideClusterInfo"):
        keys = ("server", "tls-server-name", "insecure-skip-tls-verify", "proxy-url")
        spec["cluster"] = {key: cluster[key] for key in keys if cluster.get(key)}
        authority = file_or_data(cluster, "certificate-authority", where)
        if authority:
            spec["cluster"]["certificate-authority-data"] = base64.b64encode(authority).decode()
        for extension in cluster.get("extensions") or []:
            if extension.get("name") == "client.authentication.k8s.io/exec":
                spec["cluster"]["config"] = extension.get("extension")
    return {"kind": "ExecCredential", "apiVersion": plugin.get("apiVersion") or _EXEC_API, "spec": spec}

"""A connection to an API server by the package `kubernetes`: TLS, proxies, and the headers that say who asks.

Requests are plain documents through `ApiClient`; its API and model classes are never touched, for importing them
takes longer than a whole `kfit status` may.
"""

from __future__ import annotations

import copy
import ipaddress
import ssl
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies_environment

import urllib3
from kubernetes.client import ApiClient, Configuration
from kubernetes.client.rest import should_bypass_proxies
from kubernetes.config import ConfigException, load_incluster_config
from kubernetes.config.kube_config import KubeConfigLoader

from k8s.api.credentials import Credentials, Impersonation, file_or_data, impersonation_headers, read
from k8s.api.messages import Request
from k8s.errors import AccessError
from trainer import __version__

CONNECT_S = 5.0


class Connection:
    """The way to one API server as one user; usable from several threads.

    Args:
        configuration: Host, proxy and token, as the package keeps them.
        tls: TLS settings; None where the server speaks plain HTTP.
        headers: Sent with every request beside the token; a name may come several times.
        where: The context, for messages.
    """

    def __init__(
        self,
        configuration: Configuration,
        tls: ssl.SSLContext | None,
        headers: Sequence[tuple[str, str]],
        where: str,
    ) -> None:
        configuration.retries = False  # tries are counted in `transport`
        configuration.keep_alive = True
        self._configuration, self._headers, self._where = configuration, headers, where
        if not configuration.verify_ssl:
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)  # said once, by `transport`
        try:
            self._client = ApiClient(configuration)
        except ImportError as missing:
            raise AccessError(
                "a socks5 proxy needs the package PySocks", where=where, remedy="pip install 'urllib3[socks]'"
            ) from missing
        self._client.user_agent = f"kfit/{__version__}"
        if tls is not None:
            # One context for all connections: key and certificates stay in memory.
            self._client.rest_client.pool_manager.connection_pool_kw["ssl_context"] = tls

    @property
    def verifies_tls(self) -> bool:
        """Whether the server's certificate is checked."""
        return bool(self._configuration.verify_ssl)

    def call(self, request: Request, read_s: float) -> urllib3.HTTPResponse:
        """Sends a request once and returns the answer with its body unread.

        Args:
            request: The request.
            read_s: Seconds without a byte after which the answer counts as lost.

        Raises:
            AccessError: A token or another header cannot be sent.
            urllib3.exceptions.HTTPError: There is no answer.
            kubernetes.client.exceptions.ApiException: TLS failed; the cause is its context.
        """
        content = {} if request.body is None else {"Content-Type": request.content_type}
        method, url, plain, body, _ = self._client.param_serialize(
            request.method,
            request.path,
            query_params=[(key, value) for key, value in request.query.items() if value],
            header_params={"Accept": request.accept, **content},
            body=request.body,
        )
        headers = urllib3.HTTPHeaderDict(plain)
        token = self._configuration.get_api_key_with_prefix("BearerToken")
        for name, value in [*([("Authorization", token.strip())] if token else []), *self._headers]:
            headers.add(name, self._sendable(name, value))
        answer: urllib3.HTTPResponse = self._client.call_api(
            method, url, headers, body, _request_timeout=(min(CONNECT_S, read_s), read_s)
        ).response
        return answer

    def close(self) -> None:
        """Closes the connections that lie idle."""
        self._client.close()

    def _sendable(self, name: str, value: str) -> str:
        """Returns a header's value, refused without a word of it where it would end the header."""
        if not value.isprintable() or not value.isascii():
            what = "the token or password" if name == "Authorization" else f"the header {name}"
            raise AccessError(
                f"{what} has a line break, a control character or a letter outside ASCII",
                where=self._where,
                remedy="sign in again, or write that user of the kubeconfig again",
            )
        return value


def from_kubeconfig(
    cluster: Mapping[str, Any],
    user: Mapping[str, Any],
    where: str,
    save_user: Callable[[], None],
    flags: Impersonation,
) -> Connection:
    """Returns the connection that a kubeconfig's cluster and user describe; plugins are asked, nothing else is sent.

    Args:
        cluster: The cluster, with absolute paths.
        user: The user, with absolute paths.
        where: The context, for messages.
        save_user: Keeps the user's `auth-provider` after its tokens were renewed.
        flags: Impersonation that overrides the user's.

    Raises:
        AccessError: Something in them cannot be used.
    """
    secure = str(cluster["server"]).lower().startswith("https")
    # Nothing secret goes over plain HTTP, as with kubectl.
    who = read(user, cluster, where, flags) if secure else Credentials()
    plain = {key: cluster[key] for key in ("server", "tls-server-name", "proxy-url") if cluster.get(key)}
    insecure = bool(cluster.get("insecure-skip-tls-verify"))
    provider = copy.deepcopy(who.user.get("auth-provider"))
    document = {
        "current-context": "it",
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        "clusters": [{"name": "it", "cluster": plain | {"insecure-skip-tls-verify": insecure}}],
        "users": [{"name": "it", "user": {**who.user, **({"auth-provider": provider} if provider else {})}}],
    }

    def renewed() -> None:
        assert provider is not None, "only the tokens of an auth-provider are renewed"
        user["auth-provider"]["config"] |= {key: provider["config"][key] for key in ("id-token", "refresh-token")}
        save_user()

    configuration = Configuration()
    if provider:
        _check_issuer(provider)
    try:
        KubeConfigLoader(document, config_base_path="", config_persister=renewed).load_and_set(configuration)
    except Exception as broken:  # of requests, oauthlib, urllib3 or json, by what an issuer answers
        raise _no_login(where, f"{type(broken).__name__}: {broken}") from broken
    if provider and not configuration.api_key:
        raise _no_login(where, "it holds no valid id-token")
    _set_proxy(configuration, bool(cluster.get("proxy-url")), where)
    return Connection(configuration, _tls(cluster, who, insecure, where), who.headers, where)


def pod_configuration() -> Configuration:
    """Returns what a pod's service account says.

    Raises:
        AccessError: It has none.
    """
    configuration = Configuration()
    try:
        load_incluster_config(configuration)
    except (ConfigException, OSError) as broken:
        raise AccessError(f"the pod's service account cannot be used: {broken}", where="in-cluster") from broken
    return configuration


def from_pod(flags: Impersonation) -> Connection:
    """Returns the connection of a pod's service account."""
    where, configuration = "the pod's service account", pod_configuration()
    cluster = {"server": configuration.host, "certificate-authority": configuration.ssl_ca_cert}
    _set_proxy(configuration, False, where)
    headers = impersonation_headers({}, flags, where)
    return Connection(configuration, _tls(cluster, Credentials(), False, where), headers, where)


def _check_issuer(provider: dict[str, Any]) -> None:
    """Has the issuer's certificate checked: without an authority of its own the package would not check it."""
    import certifi

    settings = provider.setdefault("config", {})
    if not settings.get("idp-certificate-authority-data"):
        settings.pop("idp-certificate-authority-data", None)
        if not settings.get("idp-certificate-authority"):
            settings["idp-certificate-authority"] = ssl.get_default_verify_paths().cafile or certifi.where()


def _no_login(where: str, why: str) -> AccessError:
    return AccessError(
        f"the login by its auth-provider cannot be used: {why}",
        where=where,
        remedy="sign in again, or use an exec plugin for the user (kubelogin)",
    )


def _tls(cluster: Mapping[str, Any], who: Credentials, insecure: bool, where: str) -> ssl.SSLContext | None:
    """Returns the TLS settings of a cluster and a user; None where the server speaks plain HTTP."""
    if not str(cluster["server"]).lower().startswith("https"):
        return None
    authority = file_or_data(cluster, "certificate-authority", where)
    if authority and insecure:
        raise AccessError(
            "its cluster has a certificate-authority and insecure-skip-tls-verify", where=where, remedy="keep one"
        )
    try:
        tls = ssl.create_default_context(cadata=authority.decode() if authority else None)
        # Python 3.13 demands extensions that authorities of older clusters lack; kubectl does not.
        tls.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if insecure:
            tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
        if who.certificate:
            _load_pair(tls, *who.certificate)
    except (OSError, ValueError) as broken:
        raise AccessError(
            f"certificates cannot be used: {broken}", where=where, remedy="write the kubeconfig again"
        ) from broken
    return tls


def _load_pair(tls: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """Loads a client certificate from files without a name: no key is left on disk, however the process ends."""
    with tempfile.TemporaryFile() as one, tempfile.TemporaryFile() as other:
        for file, content in ((one, certificate), (other, key)):
            file.write(content)
            file.seek(0)
        # An encrypted key is refused instead of asked for, as by kubectl.
        tls.load_cert_chain(f"/dev/fd/{one.fileno()}", f"/dev/fd/{other.fileno()}", password="")


def _set_proxy(configuration: Configuration, own: bool, where: str) -> None:
    """Sets the proxy that kubectl would use: the cluster's own always, one of the environment as `NO_PROXY` says."""
    url = urlsplit(configuration.host)
    proxy = str(configuration.proxy) if own else getproxies_environment().get(url.scheme, "")
    if not own and proxy:
        # Go reads `*.example.com` as `.example.com`, and sends nothing to itself through a proxy.
        exempt = ",".join(e.strip().removeprefix("*") or "*" for e in (configuration.no_proxy or "").split(",") if e)
        proxy = "" if _is_local(url.hostname or "") or should_bypass_proxies(configuration.host, exempt) else proxy
    configuration.no_proxy = ""
    configuration.proxy = None
    if not proxy:
        return
    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    if parts.scheme not in ("http", "https", "socks5", "socks5h"):
        raise AccessError(f"unknown kind of proxy {parts.scheme!r}", where=where, remedy="use http, https or socks5")
    if parts.scheme.startswith("socks5"):
        # The proxy resolves the name, as it does for kubectl.
        configuration.proxy = parts._replace(scheme="socks5h").geturl()
        return
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        configuration.proxy_headers = urllib3.make_headers(proxy_basic_auth=pair)
    configuration.proxy = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

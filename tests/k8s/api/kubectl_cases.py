"""Kubeconfigs that kubectl and kfit must read alike: `python -m tests.k8s.api.kubectl_cases` prints what both sent.

Long because it is a list: one short function a case.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from k8s.api.client import Cluster
from tests.k8s.api.recorder import Authority, Recorder, Seen, jwt, recording
from tests.tools import program
from trainer.errors import KfitError

_QUIET = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "kubeconfig", "ssl_cert_file")
_EXEC = "client.authentication.k8s.io/v1"


@dataclass
class Setting:
    """Where a case is played: a folder, the servers, and what the case makes of them.

    Attributes:
        files: Kubeconfigs, in the order of KUBECONFIG.
        words: Flags that kubectl and kfit share: context, and whom to act as.
        environ: Further environment.
    """

    folder: Path
    authority: Authority
    recorder: Recorder
    files: list[Path] = field(default_factory=list)
    context: str | None = None
    environ: dict[str, str] = field(default_factory=dict)

    def config(self, user=None, *, name="config", cluster=None, current="c", context=None, **top) -> Path:
        """Writes one kubeconfig, `c` everywhere, and adds it to KUBECONFIG."""
        server = {"server": self.recorder.url, "certificate-authority": str(self.authority.path)}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": server if cluster is None else cluster}],
            "users": [{"name": "c", "user": user if user is not None else {"token": "secret"}}],
            "contexts": [{"name": "c", "context": context or {"cluster": "c", "user": "c", "namespace": "ml"}}],
            "current-context": current,
            **top,
        }
        return self.write(name, yaml.safe_dump(document))

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        self.files.append(path)
        return path

    def cluster(self, **changes) -> dict:
        """The recording server as a kubeconfig's cluster; None takes a key away."""
        plain = {"server": self.recorder.url, "certificate-authority": str(self.authority.path), **changes}
        return {key: value for key, value in plain.items() if value is not None}

    def plugin(self, status: dict | None = None, code: str = "", **changes) -> dict:
        """A user whose credential plugin prints a status."""
        answer = {"apiVersion": _EXEC, "kind": "ExecCredential", "status": status or {"token": "from-a-plugin"}}
        script = self.folder / "plugin.py"
        script.write_text(code or f"print({json.dumps(answer)!r})")
        plugin = {
            "apiVersion": _EXEC,
            "command": sys.executable,
            "args": [str(script)],
            "interactiveMode": "IfAvailable",
        }
        return {"exec": plugin | changes}

    def oidc(self, expires: int, **changes) -> dict:
        """A user of the issuer."""
        settings = {
            "idp-issuer-url": self.recorder.url, "client-id": "kfit", "client-secret": "s",
            "id-token": jwt(expires, "first"), "refresh-token": "again",
            "idp-certificate-authority": str(self.authority.path), **changes,
        }  # fmt: skip
        return {"auth-provider": {"name": "oidc", "config": settings}}


Case = Callable[[Setting], object]
CASES: dict[str, Case] = {}


#: Where kubectl asks for a user name and a password on the terminal, kfit asks the server as nobody.
DIFFERENT = {"an anonymous user", "no user at all"}


def case(function: Case) -> Case:
    CASES[function.__name__.replace("_", " ")] = function
    return function


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


@case
def a_token(s):
    s.config()


@case
def an_anonymous_user(s):
    s.config({})


@case
def no_user_at_all(s):
    s.config(context={"cluster": "c"})


@case
def a_user_that_is_missing(s):
    s.config(context={"cluster": "c", "user": "gone"})


@case
def a_cluster_that_is_missing(s):
    s.config(context={"cluster": "gone", "user": "c"})


@case
def a_context_that_is_missing(s):
    s.config()
    s.context = "gone"


@case
def another_context(s):
    contexts = [{"name": n, "context": {"cluster": "c", "user": n}} for n in ("c", "d")]
    s.config(contexts=contexts, users=[{"name": n, "user": {"token": n}} for n in ("c", "d")])
    s.context = "d"


@case
def the_first_current_context_of_two_files(s):
    names = ("a", "b")
    users = [{"name": n, "user": {"token": n}} for n in names]
    contexts = [{"name": n, "context": {"cluster": "c", "user": n}} for n in names]
    s.config(name="one", current="a", users=users, contexts=contexts)
    s.config(name="two", current="b")


@case
def a_current_context_in_the_second_file_alone(s):
    s.config(name="one", current="")
    s.config(name="two", current="c")


@case
def the_first_of_two_users_of_a_name(s):
    s.config({"token": "first"}, name="one")
    s.config({"token": "second"}, name="two")


@case
def a_user_in_another_file(s):
    s.config(name="one", users=[])
    s.config({"token": "second"}, name="two", clusters=[], contexts=[])


@case
def an_empty_and_a_missing_file(s):
    s.write("empty", "")
    s.files.append(s.folder / "missing")
    s.config()


@case
def a_file_that_is_no_yaml(s):
    s.write("bad", "a: [")
    s.config()


@case
def relative_paths_from_the_folder_of_their_file(s):
    path = s.config({"tokenFile": "token"}, name="sub/config", cluster=s.cluster(**{"certificate-authority": "ca.pem"}))
    (path.parent / "token").write_text("from-a-file\n")
    (path.parent / "ca.pem").write_bytes(s.authority.path.read_bytes())


@case
def a_token_file_beside_a_token(s):
    (s.folder / "token").write_text("from-a-file")
    s.config({"tokenFile": "token", "token": "from-the-kubeconfig"})


@case
def a_token_file_that_is_missing(s):
    s.config({"tokenFile": "gone"})


@case
def a_token_with_a_line_break_inside(s):
    s.config({"token": "one\ntwo"})


@case
def a_password(s):
    s.config({"username": "me", "password": "pässword:x"})


@case
def a_token_and_a_password(s):
    s.config({"token": "t", "username": "me", "password": "pw"})


@case
def a_client_certificate(s):
    certificate, key = s.authority.issue("alice")
    s.config({"client-certificate": str(certificate), "client-key": str(key)})


@case
def a_client_certificate_as_data(s):
    certificate, key = s.authority.issue("bob")
    data = {"client-certificate-data": _encoded(certificate), "client-key-data": _encoded(key)}
    authority = {"certificate-authority": None, "certificate-authority-data": _encoded(s.authority.path)}
    s.config(data, cluster=s.cluster(**authority))


@case
def a_client_certificate_without_its_key(s):
    s.config({"client-certificate": str(s.authority.issue("carol")[0])})


@case
def a_plugin(s):
    s.config(s.plugin())


@case
def a_plugin_by_a_relative_command(s):
    script = s.folder / "sub" / "bin" / "login"
    script.parent.mkdir(parents=True)
    answer = {"apiVersion": _EXEC, "kind": "ExecCredential", "status": {"token": "relative"}}
    script.write_text(f"#!/bin/sh\necho '{json.dumps(answer)}'\n")
    script.chmod(0o755)
    s.config(s.plugin(command="./bin/login", args=[]), name="sub/config")


@case
def a_plugin_that_gives_a_certificate(s):
    certificate, key = (path.read_text() for path in s.authority.issue("dora"))
    s.config(s.plugin({"clientCertificateData": certificate, "clientKeyData": key}))


@case
def a_plugin_that_is_told_the_cluster(s):
    code = (
        "import hashlib, json, os; spec = json.loads(os.environ['KUBERNETES_EXEC_INFO'])['spec'];"
        "c = spec['cluster']; keys = ('server', 'certificate-authority-data', 'config');"
        "told = json.dumps([[c[key] for key in keys], os.environ['OWN']]);"
        "token = hashlib.sha256(told.encode()).hexdigest();"
        f"print(json.dumps({{'apiVersion': '{_EXEC}', 'kind': 'ExecCredential', 'status': {{'token': token}}}}))"
    )
    config = [{"name": "client.authentication.k8s.io/exec", "extension": {"audience": "x"}}]
    user = s.plugin(code=code, provideClusterInfo=True, env=[{"name": "OWN", "value": "!"}])
    s.config(user, cluster=s.cluster(extensions=config))


@case
def a_plugin_that_fails(s):
    s.config(s.plugin(code="raise SystemExit('no login')"))


@case
def a_plugin_that_is_missing(s):
    s.config(s.plugin(command="no-such-plugin"))


@case
def a_plugin_that_says_nothing_of_use(s):
    s.config(s.plugin(code="print('hello')"))


@case
def a_plugin_that_must_ask_a_person_without_a_terminal(s):
    s.config(s.plugin(interactiveMode="Always"))


@case
def an_oidc_token(s):
    s.config(s.oidc(4_000_000_000))


@case
def an_oidc_token_that_is_renewed(s):
    s.config(s.oidc(1_000_000_000))


@case
def an_auth_provider_of_old(s):
    s.config({"auth-provider": {"name": "azure", "config": {}}})


@case
def impersonation(s):
    extra = {"scopes": ["a", "b"], "dev.example/Team": ["x"]}
    s.config({"token": "t", "as": "jane", "as-uid": "7", "as-groups": ["dev", "ops"], "as-user-extra": extra})


@case
def impersonated_groups_without_a_user(s):
    s.config({"token": "t", "as-groups": ["dev"]})


@case
def another_name_on_the_certificate(s):
    s.config(cluster=s.cluster(**{"tls-server-name": "other.test"}))


@case
def an_authority_that_did_not_sign(s):
    s.config(cluster=s.cluster(**{"certificate-authority": str(Authority(s.folder, "stranger").path)}))


@case
def insecure_tls(s):
    s.config(cluster=s.cluster(**{"certificate-authority": None, "insecure-skip-tls-verify": True}))


@case
def insecure_tls_and_an_authority(s):
    s.config(cluster=s.cluster(**{"insecure-skip-tls-verify": True}))


@case
def a_path_below_the_servers_name(s):
    s.config(cluster=s.cluster(server=f"{s.recorder.url}/k8s/clusters/one/"))


@case
def a_proxy_with_a_password(s):
    s.config(cluster=s.cluster(server="https://api.test:6443", **{"proxy-url": f"http://me:p%40ss@{s.recorder.proxy}"}))


@case
def a_proxy_by_tls(s):
    s.environ["SSL_CERT_FILE"] = str(s.authority.path)
    s.config(cluster=s.cluster(server="https://api.test:6443", **{"proxy-url": f"https://{s.recorder.tls_proxy}"}))


@case
def a_socks_proxy_with_a_password(s):
    s.config(cluster=s.cluster(server="https://api.test:6443", **{"proxy-url": f"socks5://me:pw@{s.recorder.socks}"}))


@case
def a_proxy_of_the_environment(s):
    s.environ["HTTPS_PROXY"] = f"http://{s.recorder.proxy}"
    s.config(cluster=s.cluster(server="https://api.test:6443"))


@case
def no_proxy_for_this_server(s):
    s.environ |= {
        "HTTPS_PROXY": f"http://{s.recorder.proxy}",
        "NO_PROXY": "10.0.0.0/8,*.other.test,.localhost,localhost",
    }
    s.config(cluster=s.cluster(server=s.recorder.url.replace("127.0.0.1", "localhost")))


@case
def no_proxy_for_another_server(s):
    s.environ |= {"HTTPS_PROXY": s.recorder.proxy, "NO_PROXY": "10.0.0.0/8,pi.test,other.test"}
    s.config(cluster=s.cluster(server="https://api.test:6443"))


@case
def a_proxy_of_the_cluster_against_no_proxy(s):
    s.environ |= {"NO_PROXY": "*"}
    s.config(cluster=s.cluster(server="https://api.test:6443", **{"proxy-url": f"http://{s.recorder.proxy}"}))


@case
def plain_http(s):
    s.config(cluster={"server": s.recorder.plain_url})


@dataclass(frozen=True)
class Outcome:
    """What a program sent: the last request, the distinct ways through proxies, renewals; or that it refused.

    Attributes:
        namespace: The namespace it would ask about.
    """

    request: Seen | None
    ways: tuple[str, ...]
    renewals: tuple[str, ...]
    namespace: str
    said: str = field(default="", compare=False)


def play(name: str, who: Callable[[Setting], tuple[str, str]], authority: Authority, recorder: Recorder) -> Outcome:
    """One case in a folder of its own, by kubectl or by kfit."""
    with tempfile.TemporaryDirectory() as folder:
        setting = Setting(Path(folder), authority, recorder)
        CASES[name](setting)
        recorder.forget()
        before = {key: os.environ.pop(key) for key in list(os.environ) if key.lower() in _QUIET}
        try:
            os.environ |= setting.environ
            namespace, said = who(setting)
        finally:
            for key in setting.environ:
                os.environ.pop(key, None)
            os.environ.update(before)
        request = recorder.requests[-1] if recorder.requests else None
        # Each way once: a client may open a second connection where the first is slow.
        ways = tuple(dict.fromkeys(recorder.ways))
        return Outcome(request, ways, tuple(recorder.renewals), namespace if request else "", said)


def by_kubectl(setting: Setting) -> tuple[str, str]:
    environ = os.environ | {"KUBECONFIG": os.pathsep.join(map(str, setting.files)), "HOME": str(setting.folder)}
    kubectl = [str(program("kubectl")), *(["--context", setting.context] if setting.context else [])]
    options = {"env": environ, "capture_output": True, "text": True, "stdin": subprocess.DEVNULL, "check": False}
    done = subprocess.run([*kubectl, "get", "--raw", "/version"], **options)
    shown = subprocess.run([*kubectl, "config", "view", "--minify", "-o", "jsonpath={..namespace}"], **options)
    return shown.stdout.strip() or "default", done.stderr.strip()


def by_kfit(setting: Setting) -> tuple[str, str]:
    environ = {"KUBECONFIG": os.pathsep.join(map(str, setting.files))}
    try:
        cluster = Cluster.open(None, setting.context, None, environ, request_timeout_s=5.0)
        try:
            cluster.version()
        finally:
            cluster.close()
    except KfitError as refused:
        return "", str(refused)
    return cluster.namespace, ""


def main() -> int:
    """Prints what both sent for every case; 1 where they differ."""
    from rich.console import Console
    from rich.table import Table

    table = Table("kubeconfig", "kubectl sent", "kfit", title="kubectl and kfit")
    differ = 0
    with tempfile.TemporaryDirectory() as folder:
        authority = Authority(Path(folder))
        with recording(authority) as recorder:
            for name in CASES:
                theirs, ours = (play(name, who, authority, recorder) for who in (by_kubectl, by_kfit))
                differ += theirs != ours and name not in DIFFERENT
                table.add_row(name, _words(theirs), "the same" if theirs == ours else _words(ours))
    Console(width=150).print(table)
    return int(differ > 0)


def _words(outcome: Outcome) -> str:
    seen = outcome.request
    if seen is None:
        return "nothing: refused"
    who = [seen.authorization[:40], f"certificate {seen.certificate}" if seen.certificate else ""]
    who += [f"{name.removeprefix('impersonate-')}={value}" for name, value in seen.impersonation]
    who += [f"by {way}" for way in outcome.ways] + ["renewed" for _ in outcome.renewals]
    return ", ".join([f"{seen.path} in {outcome.namespace}", *filter(None, who)])


if __name__ == "__main__":
    sys.exit(main())

"""Which cluster and who asks. What is sent is compared with the real kubectl in test_kubectl.py; here is the rest."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys

import pytest
import yaml
from click.testing import CliRunner

from k8s.api import access
from k8s.api.client import Cluster
from k8s.api.credentials import Impersonation
from k8s.cli import cli
from k8s.errors import AccessError, ClusterError
from tests.k8s.api.kubectl_cases import Setting
from tests.k8s.api.recorder import RENEWED, jwt

HOSTILE = "secret-one\nsecret-two"


def write(path, **changes):
    config = {
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:9/"}}],
        "users": [{"name": "u", "user": {"token": "secret"}}],
        "contexts": [{"name": "ctx", "context": {"cluster": "c", "user": "u", "namespace": "ml"}}],
        "current-context": "ctx",
        **changes,
    }
    path.write_text(yaml.safe_dump(config))
    return str(path)


def user(path, **keys):
    return write(path, users=[{"name": "u", "user": keys}])


def load(file=None, context=None, namespace=None, **environ):
    return access.load(file, context, namespace, environ)


@pytest.fixture
def setting(tmp_path, authority, recorder):
    """Writes kubeconfigs that name the recording server."""
    return Setting(tmp_path, authority, recorder)


def ask(path, **options):
    """Asks the recording server for its version."""
    cluster = Cluster.open(str(path), **options)
    try:
        cluster.version()
    finally:
        cluster.close()


def test_flags_win(tmp_path):
    contexts = [{"name": n, "context": {"cluster": "c", "user": "u"}} for n in ("a", "b")]
    path = write(tmp_path / "config", contexts=contexts)
    access = load(path, "b", "team", KUBECONFIG="/nowhere")
    assert (access.server, access.context, access.namespace) == ("https://127.0.0.1:9", "b", "team")
    assert load(path, "a").namespace == "default"


def test_a_kubeconfig_named_by_a_flag_may_have_the_separator_in_its_name(tmp_path):
    assert load(write(tmp_path / "a:b")).context == "ctx"


def test_whom_to_act_as_may_be_named_by_flags(setting):
    path = setting.config({"token": "t", "as": "file", "as-groups": ["file"], "as-uid": "1"})
    ask(path, impersonation=Impersonation("flag", ("x", "y")))
    (seen,) = setting.recorder.requests
    assert seen.impersonation == (
        ("impersonate-group", "x"), ("impersonate-group", "y"), ("impersonate-uid", "1"), ("impersonate-user", "flag"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("plugin", "words", "remedy"),
    [
        ({"command": "no-such-plugin", "installHint": "get it there"}, "'no-such-plugin' is missing", "get it there"),
        ({"command": "false"}, "the credential plugin failed", "run it by hand: false"),
        (
            {"command": "echo", "args": ["no"]},
            "the credential plugin gave no ExecCredential",
            "run it by hand: echo no",
        ),
        ({"command": "echo", "args": ['{"status": {}}']}, "gave no token and no certificate", None),
        ({"command": "false", "interactiveMode": "Always"}, "asks a person, and there is no terminal", ""),
    ],
)
def test_a_plugin_that_fails_says_what_mends_it(tmp_path, plugin, words, remedy):
    with pytest.raises(AccessError, match=words) as caught:
        load(user(tmp_path / "config", exec=plugin)).connect()
    assert remedy is None or caught.value.remedy == remedy


def test_what_a_plugin_asks_a_person_reaches_the_terminal(setting, capfd):
    status = json.dumps({"status": {"token": "t"}})
    code = f"import sys; print('open https://login', file=sys.stderr); print({status!r})"
    ask(setting.config(setting.plugin(code=code)))
    assert capfd.readouterr().err == "open https://login\n"


@pytest.mark.parametrize(
    "keys",
    [
        {"token": HOSTILE},
        {"tokenFile": "token"},
        {"exec": {"command": "echo", "args": [json.dumps({"status": {"token": HOSTILE}})]}},
        {"token": "sécret"},
        {"token": "t", "as": HOSTILE},
    ],
    ids=["token", "tokenFile", "exec", "not ASCII", "impersonation"],
)
def test_a_token_that_would_end_its_header_is_refused_and_never_shown(tmp_path, keys):
    (tmp_path / "token").write_text(HOSTILE)
    done = CliRunner().invoke(cli, ["--kubeconfig", user(tmp_path / "config", **keys), "list"])
    assert isinstance(done.exception, AccessError)
    assert done.exception.exit_code == 64
    causes, error = [], done.exception
    while error is not None:
        causes.append(repr(error) + str(error) + str(error.__dict__))
        error = error.__cause__
    assert "secret" not in done.output + "".join(causes)
    assert "a line break, a control character" in str(done.exception)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"current-context": "gone"}, "no context 'gone'"),
        ({"current-context": ""}, "no current context"),
        ({"clusters": []}, "its cluster 'c' is not in the kubeconfig"),
        ({"users": []}, "its user 'u' is not in the kubeconfig"),
        ({"users": "x"}, "not a kubeconfig"),
        ({"contexts": [1]}, "not a kubeconfig"),
        ({"contexts": [{"name": "ctx"}]}, "its cluster None"),
    ],
)
def test_a_kubeconfig_that_is_not_whole_is_told(tmp_path, changes, words):
    with pytest.raises(AccessError, match=words):
        load(write(tmp_path / "config", **changes))


@pytest.mark.parametrize("text", ["{", "token: [secret", "- a", "3", '"text"', "a: &a [*a]", "\x00"])
def test_a_file_that_is_no_kubeconfig_is_told_without_its_text(tmp_path, text):
    (tmp_path / "bad").write_text(text)
    with pytest.raises(AccessError) as caught:
        load(str(tmp_path / "bad"))
    assert "secret" not in str(caught.value)


ODD = [3, "secret", ["secret"], [3], {"secret": 1}, True, [{"name": "secret"}], "\n", -1.5, [[]]]
USER_KEYS = ["token", "tokenFile", "username", "password", "exec", "auth-provider"]
USER_KEYS += ["as", "as-groups", "as-uid", "as-user-extra"]
USER_KEYS += ["client-certificate", "client-certificate-data", "client-key", "client-key-data"]
CLUSTER_KEYS = ["server", "certificate-authority", "certificate-authority-data", "tls-server-name", "proxy-url"]
CLUSTER_KEYS += ["insecure-skip-tls-verify", "extensions"]


@pytest.mark.parametrize("value", ODD, ids=repr)
@pytest.mark.parametrize("key", [*USER_KEYS, *CLUSTER_KEYS, "exec.args", "exec.env", "exec.command", "exec.apiVersion"])
def test_a_value_of_another_type_ends_in_one_error(tmp_path, key, value):
    cluster, asking = {"server": "https://127.0.0.1:9"}, {}
    if key.startswith("exec."):
        asking["exec"] = {"command": "true", "provideClusterInfo": True} | {key.partition(".")[2]: value}
    else:
        (cluster if key in CLUSTER_KEYS else asking)[key] = value
    entries = {"clusters": [{"name": "c", "cluster": cluster}], "users": [{"name": "u", "user": asking}]}
    path = write(tmp_path / "config", **entries)
    with pytest.raises((AccessError, ClusterError)) as caught:
        ask(path, patience_s=0.0)
    assert caught.value.exit_code in (64, 69)
    assert key not in ("token", "password") or "secret" not in str(caught.value)


def test_no_kubeconfig_is_told(tmp_path):
    with pytest.raises(AccessError, match="no kubeconfig"):
        load(str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"auth-provider": {"name": "gcp"}}, "'gcp' is of a kind that Kubernetes has removed"),
        ({"auth-provider": {"name": "oidc"}}, "the login by its auth-provider cannot be used"),
        ({"auth-provider": {"name": "oidc", "config": {"id-token": "none"}}}, "it holds no valid id-token"),
        ({"exec": {"command": "x"}, "auth-provider": {"name": "oidc"}}, "its user has auth-provider and exec"),
        ({"client-certificate-data": "=", "client-key-data": "="}, "client-certificate-data is not base64"),
        ({"client-certificate-data": "bm9uZQ==", "client-key-data": "bm9uZQ=="}, "certificates cannot be used"),
        ({"client-key": "/gone"}, "cannot read its client-key /gone"),
    ],
)
def test_a_user_that_cannot_be_used_is_told(tmp_path, keys, words):
    with pytest.raises(AccessError, match=words):
        load(user(tmp_path / "config", **keys)).connect()


def test_an_issuer_whose_certificate_is_not_trusted_gets_no_refresh_token(setting):
    """Without an authority in the kubeconfig the package would not check the issuer's certificate at all."""
    path = setting.config(setting.oidc(1_000_000_000, **{"idp-certificate-authority": ""}))
    with pytest.raises(AccessError, match="the login by its auth-provider cannot be used"):
        ask(path)
    assert setting.recorder.renewals == []


def test_renewed_tokens_are_kept_in_the_kubeconfig(setting):
    """An issuer may take a refresh token only once."""
    path = setting.config(setting.oidc(1_000_000_000), extensions=[{"name": "x", "extension": {"a": 1}}])
    path.chmod(0o600)
    before = yaml.safe_load(path.read_text())
    ask(path)
    before["users"][0]["user"]["auth-provider"]["config"] |= {"id-token": RENEWED, "refresh-token": "next"}
    assert yaml.safe_load(path.read_text()) == before
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in setting.folder.iterdir()] == ["config"]
    ask(path)
    assert len(setting.recorder.renewals) == 1


def test_a_login_that_is_valid_leaves_the_kubeconfig_alone(setting):
    path = setting.config(setting.oidc(4_000_000_000))
    text = path.read_text()
    ask(path)
    assert path.read_text() == text
    assert setting.recorder.requests[0].authorization == f"Bearer {jwt(4_000_000_000, 'first')}"


@pytest.mark.parametrize("ending", ["sys.exit()", "os._exit(0)", f"os.kill(os.getpid(), {int(signal.SIGKILL)})"])
def test_no_client_key_is_left_behind_however_the_process_ends(setting, tmp_path, ending):
    certificate, key = (path.read_text() for path in setting.authority.issue("eve"))
    path = setting.config(setting.plugin({"clientCertificateData": certificate, "clientKeyData": key}))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    code = (
        "import os, sys; from k8s.api.client import Cluster;"
        f"c = Cluster.open({str(path)!r}); c.version(); print(os.listdir({str(scratch)!r}), flush=True); {ending}"
    )
    environ = {**os.environ, "TMPDIR": str(scratch)}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stderr
    assert list(scratch.iterdir()) == []
    assert setting.recorder.requests[-1].certificate == "eve"


def test_insecure_tls_is_told_once(setting, capsys):
    cluster = {"server": setting.recorder.url, "insecure-skip-tls-verify": True}
    opened = Cluster.open(str(setting.config(cluster=cluster)))
    for _ in range(3):
        opened.version()
    opened.close()
    told = f"warning: the certificate of {setting.recorder.url} is not checked (insecure-skip-tls-verify)\n"
    assert capsys.readouterr().err == told


def test_a_pod_asks_with_its_service_account(setting, monkeypatch, authority):
    from kubernetes.config import incluster_config

    for name, text in {"token": "of-the-pod\n", "namespace": "team\n", "ca.crt": authority.path.read_text()}.items():
        (setting.folder / name).write_text(text)
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(setting.folder / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(setting.folder / "ca.crt"))
    monkeypatch.setenv("HOME", str(setting.folder))
    host, _, port = setting.recorder.url.removeprefix("https://").partition(":")
    for key, value in {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}.items():
        monkeypatch.setenv(key, value)
    monkeypatch.delenv("KUBECONFIG", raising=False)
    cluster = Cluster.open()
    cluster.version()
    cluster.close()
    assert (cluster.namespace, cluster.context) == ("team", "in-cluster")
    assert setting.recorder.requests[0].authorization.lower() == "bearer of-the-pod"
    (setting.folder / "token").unlink()
    with pytest.raises(AccessError, match="the pod's service account cannot be used"):
        Cluster.open()


def test_nothing_secret_goes_over_plain_http(setting):
    path = setting.config({"token": "t", "as": "x"}, cluster={"server": setting.recorder.plain_url})
    ask(path)
    (seen,) = setting.recorder.requests
    assert (seen.authorization, seen.impersonation) == ("", ())


def test_a_proxy_of_an_unknown_kind_is_told(setting):
    with pytest.raises(AccessError, match="unknown kind of proxy 'ftp'"):
        ask(setting.config(cluster=setting.cluster(**{"proxy-url": "ftp://proxy"})))


def test_asking_a_cluster_imports_no_api_class(setting):
    """They take longer to import than a whole `kfit status` may take."""
    code = (
        "import sys; from k8s.api.client import Cluster; assert 'kubernetes' not in sys.modules;"
        f"c = Cluster.open({str(setting.config())!r}); c.version(); c.find('Job', 'a');"
        "print([m for m in sys.modules if m.startswith(('kubernetes.client.api.', 'kubernetes.client.models.'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"

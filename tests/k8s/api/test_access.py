"""Which cluster and who asks, as kubectl would have it."""

from __future__ import annotations

import os
import sys

import pytest
import yaml

from k8s.api import access
from k8s.errors import AccessError


def write(path, **changes):
    config = {
        "clusters": [{"name": "c", "cluster": {"server": "https://one:6443/"}}],
        "users": [{"name": "u", "user": {"token": "secret"}}],
        "contexts": [{"name": "ctx", "context": {"cluster": "c", "user": "u", "namespace": "ml"}}],
        "current-context": "ctx",
        **changes,
    }
    path.write_text(yaml.safe_dump(config))
    return str(path)


def load(file=None, context=None, namespace=None, **environ):
    return access.load(file, context, namespace, environ)


def test_the_current_context_and_its_namespace(tmp_path):
    access = load(write(tmp_path / "config"))
    assert (access.server, access.namespace, access.context) == ("https://one:6443", "ml", "ctx")
    assert access.credentials().headers == {"Authorization": "Bearer secret"}


def test_flags_win(tmp_path):
    contexts = [{"name": n, "context": {"cluster": "c", "user": "u"}} for n in ("a", "b")]
    path = write(tmp_path / "config", contexts=contexts)
    access = load(path, "b", "team", KUBECONFIG="/nowhere")
    assert (access.context, access.namespace) == ("b", "team")
    assert load(path, "a").namespace == "default"


def test_several_files_are_merged_and_the_first_wins(tmp_path):
    one = write(tmp_path / "one", users=[])
    other = {"clusters": [{"name": "c", "cluster": {"server": "https://two"}}]}
    two = write(tmp_path / "two", **other, **{"current-context": "none"})
    access = load(KUBECONFIG=os.pathsep.join([one, str(tmp_path / "missing"), two]))
    assert access.server == "https://one:6443"
    assert access.credentials().headers == {"Authorization": "Bearer secret"}  # from the second


def test_paths_are_relative_to_the_file(tmp_path):
    (tmp_path / "token").write_text("from-a-file\n")
    path = write(tmp_path / "config", users=[{"name": "u", "user": {"tokenFile": "token"}}])
    assert load(path).credentials().headers["Authorization"] == "Bearer from-a-file"


def test_a_token_file_is_read_anew(tmp_path):
    token = tmp_path / "token"
    path = write(tmp_path / "config", users=[{"name": "u", "user": {"tokenFile": "token"}}])
    access = load(path)
    for content in ("one", "two"):
        token.write_text(content)
        assert access.credentials().headers["Authorization"] == f"Bearer {content}"


def test_a_credential_plugin_is_asked_as_kubectl_asks(tmp_path):
    code = (
        "import json, os; info = json.loads(os.environ['KUBERNETES_EXEC_INFO']);"
        "print(json.dumps({'status': {'token': info['spec']['cluster']['server'] + os.environ['OWN']}}))"
    )
    plugin = {
        "command": sys.executable,
        "args": ["-c", code],
        "env": [{"name": "OWN", "value": "!"}],
        "provideClusterInfo": True,
        "apiVersion": "client.authentication.k8s.io/v1",
    }
    path = write(tmp_path / "config", users=[{"name": "u", "user": {"exec": plugin}}])
    assert load(path).credentials().headers["Authorization"] == "Bearer https://one:6443/!"


@pytest.mark.parametrize(
    ("plugin", "words", "remedy"),
    [
        ({"command": "no-such-plugin", "installHint": "get it there"}, "'no-such-plugin' is missing", "get it there"),
        ({"command": "false"}, "the credential plugin failed", "run it by hand: false"),
        ({"command": "echo", "args": ["no json"]}, "the credential plugin failed", "run it by hand: echo no json"),
    ],
)
def test_a_plugin_that_fails_says_what_mends_it(tmp_path, plugin, words, remedy):
    path = write(tmp_path / "config", users=[{"name": "u", "user": {"exec": plugin}}])
    with pytest.raises(AccessError, match=words) as caught:
        load(path).credentials()
    assert caught.value.remedy == remedy


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"current-context": "gone"}, "no context 'gone'"),
        ({"current-context": ""}, "no current context"),
        ({"clusters": []}, "its cluster 'c' is not in the kubeconfig"),
    ],
)
def test_a_kubeconfig_that_is_not_whole_is_told(tmp_path, changes, words):
    with pytest.raises(AccessError, match=words):
        load(write(tmp_path / "config", **changes))


def test_no_kubeconfig_is_told(tmp_path):
    with pytest.raises(AccessError, match="no kubeconfig"):
        load(str(tmp_path / "none"))
    (tmp_path / "bad").write_text("{")
    with pytest.raises(AccessError, match="cannot read the kubeconfig"):
        load(str(tmp_path / "bad"))


def test_an_old_auth_provider_is_named_with_what_took_its_place(tmp_path):
    path = write(tmp_path / "config", users=[{"name": "u", "user": {"auth-provider": {"name": "oidc"}}}])
    with pytest.raises(AccessError, match="'oidc'") as caught:
        load(path).credentials()
    assert "kubelogin" in caught.value.remedy


def test_a_password_and_an_impersonated_user_are_sent(tmp_path):
    user = {"username": "me", "password": "pw", "as": "other"}
    path = write(tmp_path / "config", users=[{"name": "u", "user": user}])
    assert load(path).credentials().headers == {"Authorization": "Basic bWU6cHc=", "Impersonate-User": "other"}


def test_a_certificate_that_is_none_is_told(tmp_path):
    cluster = {"server": "https://one", "certificate-authority-data": "bm9uZQ=="}
    access = load(write(tmp_path / "config", clusters=[{"name": "c", "cluster": cluster}]))
    with pytest.raises(AccessError, match="certificates cannot be used"):
        access.tls(access.credentials())


def test_the_names_of_contexts_are_there_for_the_shell(tmp_path):
    assert access.contexts(write(tmp_path / "config")) == ["ctx"]


def test_the_official_client_finds_the_same_cluster_and_user(tmp_path):
    """Our own reader spares every command the import of the official one; it must not differ for that."""
    official, client = pytest.importorskip("kubernetes.config"), pytest.importorskip("kubernetes.client")
    (tmp_path / "token").write_text("from-a-file")
    (tmp_path / "authority.pem").write_text("")
    clusters = [
        {"name": n, "cluster": {"server": f"https://{n}:6443", "certificate-authority": "authority.pem"}}
        for n in ("c", "d")
    ]
    users = [{"name": "u", "user": {"tokenFile": "token"}}, {"name": "v", "user": {"token": "other"}}]
    named = [{"name": "far", "context": {"cluster": "d", "user": "v", "namespace": "ml"}}]
    one = write(tmp_path / "one", clusters=clusters, users=users)
    two = write(tmp_path / "two", contexts=named)
    both = os.pathsep.join([one, two])
    for context in (None, "far"):
        theirs = client.Configuration()
        official.load_kube_config(both, context, client_configuration=theirs, persist_config=False)
        ours = load(None, context, KUBECONFIG=both)
        assert ours.server == theirs.host
        assert ours.credentials().headers["Authorization"] == theirs.auth_settings()["BearerToken"]["value"]
        assert ours.cluster["certificate-authority"] == theirs.ssl_ca_cert

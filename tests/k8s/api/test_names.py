"""No request but list and create is ever sent to a collection: an empty name would hit everybody's objects."""

from __future__ import annotations

import re

import pytest
from click.testing import CliRunner

from k8s.api.kinds import KINDS, collection_path, object_path
from k8s.cli import cli
from k8s.errors import RefusedError
from tests.k8s.apiserver import kubeconfig
from trainer.errors import KfitError

HOSTILE = [
    "",
    " ",
    "/",
    ".",
    "..",
    "jobs/",
    "../pods",
    "a/b",
    "a%2Fb",
    "a?b",
    "a#b",
    "A",
    "-a",
    "a-",
    "a..b",
    "é",
    "a\n",
]
HOSTILE += ["*", "a,b", "x" * 254, "\x00"]
OBJECT = re.compile(r"/(?:api|apis/[^/]+)/v[^/]+/namespaces/[^/]+/[^/?]+/[^/?]+(?:/log)?(?:\?.*)?")
COLLECTION = re.compile(r"/(?:api|apis/[^/]+)/v[^/]+/namespaces/[^/]+/[^/?]+(?:\?.*)?")


@pytest.mark.parametrize("name", HOSTILE)
def test_the_client_refuses_a_name_that_is_none_and_sends_nothing(server, cluster, name):
    manifest = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}}
    asked = [
        lambda: cluster.get("Job", name),
        lambda: cluster.find("Job", name),
        lambda: cluster.create(manifest),
        lambda: cluster.replace(manifest),
        lambda: cluster.patch("Job", name, {"spec": {}}),
        lambda: cluster.delete("Job", name),
        lambda: list(cluster.log(name, follow=False)),
    ]
    for ask in asked:
        with pytest.raises(RefusedError, match="is not a name of a") as caught:
            ask()
        assert caught.value.exit_code == 64
    assert server.requests == []


@pytest.mark.parametrize("kind", ["", "job", "Secret", "Job/x"])
def test_a_kind_that_is_unknown_is_refused(cluster, server, kind):
    with pytest.raises(RefusedError, match="does not know the kind"):
        cluster.delete(kind, "a")
    with pytest.raises(RefusedError, match="does not know the kind"):
        cluster.select(kind)
    assert server.requests == []


@pytest.mark.parametrize("namespace", ["", "a/b", "A", "a.b", "x" * 64, ".."])
def test_a_namespace_that_is_none_is_refused(namespace):
    with pytest.raises(RefusedError, match="is not a name of a namespace"):
        collection_path("Job", namespace)


def test_the_paths_of_objects_and_of_collections_never_meet():
    for kind in KINDS:
        assert COLLECTION.fullmatch(collection_path(kind, "ml"))
        assert OBJECT.fullmatch(object_path(kind, "ml", "a.b-c"))


@pytest.mark.parametrize("name", [n for n in HOSTILE if "\x00" not in n])
@pytest.mark.parametrize(
    "words",
    [
        ["status"], ["logs"], ["wait", "--timeout", "1s"], ["why"], ["cancel"], ["resume"], ["trigger"],
        ["schedule", "--delete"], ["schedule", "--suspend"], ["schedule", "--resume"],
        ["schedule", "delete", "--yes"], ["schedule", "suspend"], ["schedule", "resume"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_no_verb_reaches_a_collection_with_a_hostile_name(server, tmp_path, words, name):
    file = kubeconfig(tmp_path / "kubeconfig", server.url)
    done = CliRunner().invoke(cli, ["--kubeconfig", file, *words, "--", name])
    assert done.exit_code != 0
    assert done.exception is None or isinstance(done.exception, KfitError | SystemExit), repr(done.exception)
    for method, path in server.requests:
        assert path == "/version" or OBJECT.fullmatch(path) or (COLLECTION.fullmatch(path) and method == "GET"), path

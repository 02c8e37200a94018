"""Renders the chart by the helm program: what `render` prints and what `submit` sends."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from k8s.chart.kubernetes_names import words
from k8s.chart.yaml_documents import Object, from_yaml
from k8s.errors import AccessError
from trainer.config.job_document import JobDocument
from trainer.config.loader import CHART_PAGE, faults_as_one, place_of
from trainer.errors import ConfigError

_PACKAGE = Path(__file__).resolve().parents[1]
#: In the wheel, and in a checkout.
_PLACES = (_PACKAGE / "charts" / "training-job", _PACKAGE.parent / "charts" / "training-job")
#: Go's garbage collection begins late: helm is gone before what it saves counts.
_GOGC = "400"
_GET_HELM = (
    "install helm 3.18 or newer (https://helm.sh/docs/intro/install), or put it on PATH; the trainer's image has none: "
    "docs/image.md"
)


def helm_program(environ: Mapping[str, str] = os.environ) -> str:
    """Returns the path of the helm program.

    Raises:
        AccessError: There is no helm on PATH.
    """
    program = shutil.which("helm", path=environ.get("PATH"))
    if program is None:
        raise AccessError("the helm program, which renders the chart, is not on PATH", remedy=_GET_HELM)
    return program


def chart_folder() -> Path:
    """Returns the chart's folder: inside the package in the wheel, at the top of a checkout.

    Raises:
        AccessError: The installation lacks it.
    """
    for place in _PLACES:
        if (place / "Chart.yaml").is_file():
            return place
    raise AccessError(
        "the chart is missing from this installation", where=str(_PLACES[0]), remedy="install kfit again: pip install"
    )


def render(document: JobDocument, *, kube_version: str = "", namespace: str = "") -> list[Object]:
    """Returns the manifests of a job file, in the order in which they are sent.

    Args:
        document: The job file, its overrides applied: helm gets these values and no other.
        kube_version: The cluster's version; helm's default where empty.
        namespace: What `.Release.Namespace` is, which alerts look at; `default` where empty.

    Raises:
        ConfigError: The chart refuses the values.
        AccessError: No helm program.
    """
    done = template([str(chart_folder()), "--values", "-"], kube_version, namespace, document.as_yaml())
    if done.returncode:
        raise _fault(document, done.stderr.decode(errors="replace"))
    return in_order(from_yaml(done.stdout))


def template(
    arguments: Sequence[str], kube_version: str, namespace: str, values: str = ""
) -> subprocess.CompletedProcess[bytes]:
    """Runs `helm template` with these arguments and returns the ended process, whatever its exit code.

    Args:
        arguments: The chart and flags.
        kube_version: The cluster's version; helm's default where empty.
        namespace: The release's; `default` where empty.
        values: What helm reads at `--values -`.
    """
    flags = [*(["--kube-version", kube_version] if kube_version else []), "--namespace", namespace or "default"]
    with tempfile.TemporaryDirectory(prefix="kfit-helm-") as scratch:
        helm_folders = dict.fromkeys(("HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"), scratch)
        # No kubeconfig: `helm template` asks no cluster, and must not be stopped by a bad one.
        environ = {"GOGC": _GOGC, **os.environ, **helm_folders, "KUBECONFIG": os.devnull}
        command = [helm_program(), "template", "kfit", *arguments, *flags]
        return subprocess.run(command, input=values.encode(), capture_output=True, env=environ, check=False)


def in_order(manifests: list[Object]) -> list[Object]:
    """Returns the manifests with the Job or CronJob last, so that its pods find the other objects.

    Raises:
        ConfigError: There are none.
    """
    if not manifests:
        raise ConfigError("nothing is made of it: enabled is false", remedy="remove enabled from the job file")
    return sorted(manifests, key=lambda m: m["kind"] in ("Job", "CronJob"))


def _fault(document: JobDocument, stderr: str) -> ConfigError:
    """Returns the chart's own message, or that of its schema, without what helm puts around it."""
    if faults := list(_of_schema(document, stderr)):
        return faults_as_one(faults, remedy=CHART_PAGE)
    lines = [line.strip() for line in stderr.splitlines() if line.strip() and "level=" not in line]
    what = "\n".join(line for line in lines if not line.startswith("Use --debug flag")).removeprefix("Error: ")
    refusal = re.sub(r"^execution error at \([^)]*\): ", "", what.rpartition("error calling fail: ")[2])
    # The chart's own refusals are a line each; all else of helm is one message.
    faults = refusal.split("\n") if refusal != what else [what.replace("\n", " ") or "helm failed without a message"]
    return ConfigError(faults_as_one(faults, remedy="").what, where=document.source, remedy=CHART_PAGE)


def _of_schema(document: JobDocument, stderr: str) -> Iterator[str]:
    """Yields a line for each fault that helm found by the schema: its place in the job file, and what is wrong."""
    for pointer, message in re.findall(r"- at '(.*?)': (.*)", stderr):
        if message.endswith(" failed"):  # the faults of its parts follow
            continue
        path = tuple(int(part) if part.isdecimal() else part.replace("~1", "/").replace("~0", "~")
                     for part in pointer.split("/")[1:])  # fmt: skip
        pattern = re.fullmatch(r"(.*) does not match pattern '(.*)'", message)
        named = words(pattern[2].replace("\\\\", "\\"), pattern[1]) if pattern else ""
        sizes = re.fullmatch(r"(min|max)Properties: got (\d+), want (\d+)", message)
        counted = f"has {sizes[2]} keys, {sizes[3]} at {'least' if sizes[1] == 'min' else 'most'}" if sizes else ""
        yield f"{place_of(document, path)}: {named or counted or message}"

"""Renders many job files by few helm programs.

Starting helm and reading the chart takes longer than rendering it. So many files are rendered by one chart, made for
the moment: the real one's templates as partials, and for each file a template that calls them with its values. The
manifests are the same. A file with a null, which removes a default of the chart, is rendered by itself.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from k8s.chart.render import chart_folder, in_order, render, template
from k8s.chart.yaml_documents import Object, from_yaml
from trainer.config.job_document import JobDocument, merged

#: What a job's template calls the chart's templates with: the same scope, but for the values.
_TEMPLATE = """\
{{- $scope := dict "Values" (index .Values.jobs %d) "Chart" .Chart "Release" .Release "Files" .Files -}}
{{- $_ := set $scope "Capabilities" .Capabilities -}}
{{- $_ := set $scope "Template" .Template -}}
{{- range .Values.files }}
---
{{ include (printf "%%s/_%%s" $.Template.BasePath .) $scope }}
{{- end }}
"""
_SOURCE = re.compile(r"^---\n# Source: .*/templates/job-(\d+)\.yaml$", re.MULTILINE)
#: helm processes at a time; each uses one CPU.
_PROGRAMS = max(2, os.cpu_count() or 2)


def render_many(documents: Sequence[JobDocument], kube_version: str, namespace: str = "") -> list[list[Object]]:
    """Returns the manifests of each job file, in their order.

    Args:
        documents: The job files; each is checked by its model too.
        kube_version: The cluster's version; helm's default where empty.
        namespace: What `.Release.Namespace` is; `default` where empty.

    Raises:
        ConfigError: The chart refuses one.
    """
    together = [n for n, one in enumerate(documents) if len(documents) > 2 and not _has_null(one.values)]
    chunks = [together[n::_PROGRAMS] for n in range(_PROGRAMS)]
    rendered: dict[int, list[Object]] = {}
    with ThreadPoolExecutor(_PROGRAMS) as pool:
        results = pool.map(lambda chunk: _together([documents[n] for n in chunk], kube_version, namespace), chunks)
        for chunk, manifests in zip(chunks, results, strict=True):
            rendered |= dict(zip(chunk, manifests, strict=False))
        alone = [n for n in range(len(documents)) if n not in rendered]
        one_by_one = pool.map(lambda n: render(documents[n], kube_version=kube_version, namespace=namespace), alone)
        rendered |= dict(zip(alone, one_by_one, strict=True))
    return [rendered[n] for n in range(len(documents))]


def _together(documents: Sequence[JobDocument], kube_version: str, namespace: str) -> list[list[Object]]:
    """Returns the manifests of each; none where helm refuses one, since rendered by itself it has a better message."""
    if not documents:
        return []
    with tempfile.TemporaryDirectory(prefix="kfit-charts-") as scratch:
        _write(Path(scratch), documents)
        done = template([scratch], kube_version, namespace)
    if done.returncode:
        return []
    text = done.stdout.decode()
    parts: list[list[str]] = [[] for _ in documents]
    starts = list(_SOURCE.finditer(text))
    for start, end in zip(starts, [*(s.start() for s in starts[1:]), len(text)], strict=True):
        parts[int(start[1])].append(text[start.start() : end])
    return [in_order(from_yaml("".join(part))) for part in parts]


def _write(folder: Path, documents: Sequence[JobDocument]) -> None:
    """Writes the chart. It has no schema: the model that the real one's is made from has checked each file."""
    real, templates = chart_folder(), folder / "templates"
    templates.mkdir()
    for name in ("Chart.yaml", "dashboards"):
        (folder / name).symlink_to(real / name)
    # In the order in which helm renders them, which is the order of manifests of one kind.
    files = sorted(path.name for path in (real / "templates").iterdir())
    for name in files:
        (templates / f"_{name}").symlink_to(real / "templates" / name)
    for n in range(len(documents)):
        (templates / f"job-{n}.yaml").write_text(_TEMPLATE % n)
    defaults = from_yaml((real / "values.yaml").read_text())[0]
    jobs = ",\n".join(
        JobDocument(merged(defaults, document.values), source=document.source).as_yaml() for document in documents
    )
    rendered = [name for name in files if name.endswith(".yaml")]
    (folder / "values.yaml").write_text(f"files: {json.dumps(rendered)}\njobs: [\n{jobs}\n]\n")


def _has_null(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_null, value.values()))
    return any(map(_has_null, value)) if isinstance(value, list) else value is None

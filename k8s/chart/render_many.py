"""Renders many job files by few helm programs.

Starting helm and reading the chart takes longer than rendering it. So many files are rendered as one chart
that has the real one as a dependency once for each file, under an alias. The manifests are the same: the one
label that contains the alias is corrected, and a file with a null, which removes a default of the chart, is rendered
by itself.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from k8s.chart.render import chart_folder, in_order, render, template
from k8s.chart.yaml_documents import Object, from_yaml
from trainer.config.job_document import JobDocument

_SOURCE = re.compile(r"^---\n# Source: many/charts/j(\d+)/", re.MULTILINE)
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
        # The model that the schema is made from has checked each, and the check would be most of helm's time.
        done = template([scratch, "--skip-schema-validation"], kube_version, namespace)
    if done.returncode:
        return []
    text = done.stdout.decode()
    parts: list[list[str]] = [[] for _ in documents]
    starts = list(_SOURCE.finditer(text))
    for start, end in zip(starts, [*(s.start() for s in starts[1:]), len(text)], strict=True):
        parts[int(start[1])].append(text[start.start() : end])
    return [in_order([_own_label(m, f"j{n}") for m in from_yaml("".join(part))]) for n, part in enumerate(parts)]


def _write(folder: Path, documents: Sequence[JobDocument]) -> None:
    real = chart_folder()
    version = yaml.safe_load((real / "Chart.yaml").read_text())["version"]
    (folder / "charts").mkdir()
    (folder / "charts" / real.name).symlink_to(real)
    aliases = (f"  - {{name: {real.name}, version: {version}, alias: j{n}}}\n" for n in range(len(documents)))
    (folder / "Chart.yaml").write_text("apiVersion: v2\nname: many\nversion: 0.0.0\ndependencies:\n" + "".join(aliases))
    values = "".join(f"j{n}: {document.as_yaml()}\n" for n, document in enumerate(documents))
    (folder / "values.yaml").write_text(values)


def _has_null(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_null, value.values()))
    return any(map(_has_null, value)) if isinstance(value, list) else value is None


def _own_label(value: Any, alias: str) -> Any:
    """Returns the value with the chart's own name in the label where helm puts the alias."""
    if isinstance(value, dict):
        changed = {k: _own_label(v, alias) for k, v in value.items()}
        chart = changed.get("helm.sh/chart")
        if isinstance(chart, str) and chart.startswith(f"{alias}-"):
            changed["helm.sh/chart"] = chart_folder().name + chart.removeprefix(alias)
        return changed
    return [_own_label(v, alias) for v in value] if isinstance(value, list) else value

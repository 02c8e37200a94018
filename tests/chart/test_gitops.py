"""docs/gitops.md: what it shows is rendered by the real helm and does what the page says."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from tests.chart.charts import CHART, ROOT, helm, render, values
from tests.chart.test_kubernetes import CLAIMS, EVERYTHING

PAGE = (ROOT / "docs" / "gitops.md").read_text()
BLOCKS: list[dict[str, Any]] = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]
UMBRELLA = next(block for block in BLOCKS if "dependencies" in block)
VALUES = next(block for block in BLOCKS if "flights" in block)
#: What the page lays over these values, or over a job file.
OVERLAYS = [block for block in BLOCKS if "apiVersion" not in block and block is not VALUES]


def of_kind(kind):
    (block,) = [block for block in BLOCKS if block.get("kind") == kind]
    return block


@pytest.fixture(scope="module")
def umbrella(tmp_path_factory):
    """The page's chart, its dependency from this checkout in place of a registry."""
    folder = tmp_path_factory.mktemp("umbrella") / "training"
    folder.mkdir()
    chart = {**UMBRELLA, "dependencies": [{**d, "repository": f"file://{CHART}"} for d in UMBRELLA["dependencies"]]}
    (folder / "Chart.yaml").write_text(yaml.safe_dump(chart))
    (folder / "values.yaml").write_text(yaml.safe_dump(VALUES))
    built = helm("dependency", "update", str(folder))
    assert built.returncode == 0, built.stderr
    return folder


def template(folder, *words, given=None):
    """The objects by alias, kind and name that helm renders of a chart of charts."""
    done = helm(
        "template", "any", str(folder), "--kube-version", "1.34", "-f", "-", *words, stdin=yaml.safe_dump(given or {})
    )
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def named(objects, instance):
    return [o for o in objects if o["metadata"]["labels"]["app.kubernetes.io/instance"] == instance]


def test_a_chart_of_charts_makes_what_each_job_file_makes(umbrella):
    objects = template(umbrella)
    alone = {name: render(VALUES[name]) for name in ("flights", "prices")}
    for name, manifests in alone.items():
        made = {o["kind"]: o for o in named(objects, name)}
        assert set(made) == set(manifests.objects)
        for kind, one in made.items():
            one["metadata"]["labels"]["helm.sh/chart"] = "training-job-0.1.0"  # where helm puts the alias
            if kind in ("Job", "CronJob"):
                spec = one["spec"]["jobTemplate"]["spec"] if kind == "CronJob" else one["spec"]
                spec["template"]["metadata"]["labels"]["helm.sh/chart"] = "training-job-0.1.0"
            if kind == "CronJob":
                one["spec"]["jobTemplate"]["metadata"]["labels"]["helm.sh/chart"] = "training-job-0.1.0"
            assert one == manifests.objects[kind]
    assert alone["prices"].job["ttlSecondsAfterFinished"] == 2147483647
    assert "ttlSecondsAfterFinished" not in alone["flights"].job


@pytest.mark.parametrize("name", ["flights", "prices"])
def test_a_condition_switches_a_job_off(umbrella, name):
    objects = template(umbrella, "--set", f"{name}.enabled=false")
    assert named(objects, name) == []
    assert {o["metadata"]["labels"]["app.kubernetes.io/instance"] for o in objects} == {"flights", "prices"} - {name}


def test_a_condition_by_the_charts_own_name_works_too(tmp_path):
    dependency = {"name": "training-job", "version": "0.1.0", "repository": f"file://{CHART}"}
    chart = {"apiVersion": "v2", "name": "whole", "version": "1.0.0"}
    on = {"dependencies": [{**dependency, "condition": "training-job.enabled"}]}
    (tmp_path / "Chart.yaml").write_text(yaml.safe_dump({**chart, **on}))
    assert helm("dependency", "update", str(tmp_path)).returncode == 0
    given = {"training-job": VALUES["prices"], "global": {"registry": "x"}}
    assert {o["metadata"]["name"] for o in template(tmp_path, given=given)} == {render(VALUES["prices"]).name}
    given["training-job"] = {"enabled": False}  # not even the needed values are asked for
    assert template(tmp_path, given=given) == []


def test_what_the_page_lays_over_the_values_reaches_every_object_of_that_job_alone(umbrella):
    assert len(OVERLAYS) == 3
    for overlay in OVERLAYS:
        given = overlay if "prices" in overlay else {"prices": overlay}
        objects = template(umbrella, given=given)
        notes = given["prices"]["commonAnnotations"].items()
        assert all(notes <= o["metadata"]["annotations"].items() for o in named(objects, "prices"))
        assert not any(notes & o["metadata"].get("annotations", {}).items() for o in named(objects, "flights"))
        (job,) = [o for o in objects if o["kind"] == "Job"]
        assert given["prices"].get("jobAnnotations", {}).items() <= job["metadata"]["annotations"].items()
        assert job["spec"]["ttlSecondsAfterFinished"] == 2147483647


def test_a_null_in_a_file_that_is_named_to_helm_removes_a_default(umbrella):
    """In the chart's own values.yaml helm 4.3 loses it, so the page's Application names that file."""
    assert of_kind("Application")["spec"]["source"]["helm"] == {"valueFiles": ["values.yaml"]}
    null = {"runAsUser": None, "runAsGroup": None, "fsGroup": None}
    (pod,) = [
        o["spec"]["template"]["spec"]
        for o in template(umbrella, given={"prices": {"podSecurityContext": null}})
        if o["kind"] == "Job"
    ]
    assert pod["securityContext"].keys() == {"runAsNonRoot", "fsGroupChangePolicy", "seccompProfile"}


def test_both_controllers_ignore_what_kueue_and_kfit_change_and_nothing_else():
    argo = {d["kind"]: d["jsonPointers"] for d in of_kind("Application")["spec"]["ignoreDifferences"]}
    drift = of_kind("HelmRelease")["spec"]["driftDetection"]["ignore"]
    assert argo == {rule["target"]["kind"]: rule["paths"] for rule in drift}
    assert "suspend" not in render(VALUES["prices"]).job  # so it is not compared
    assert {"parallelism", "completions"} <= render(VALUES["prices"]).job.keys()
    for schedule in ({}, {"schedule": VALUES["flights"]["schedule"]}):
        job = render(values(schedule, tolerations=EVERYTHING["tolerations"]))
        manifest = job.objects.get("CronJob") or job.objects["Job"]
        for pointer in argo[manifest["kind"]]:
            at = manifest
            for key in pointer.split("/")[1:]:
                at = at[key]


def test_both_controllers_read_the_folder_that_the_page_shows():
    (folder,) = set(re.findall(r"^# (\w+)/\w+\.yaml$", PAGE, re.MULTILINE))
    assert of_kind("Application")["spec"]["source"]["path"] == folder
    chart = of_kind("HelmRelease")["spec"]["chart"]["spec"]
    assert chart["chart"] == f"./{folder}"
    repository = of_kind("GitRepository")["metadata"]["name"]
    assert {chart["sourceRef"]["name"], of_kind("Kustomization")["spec"]["sourceRef"]["name"]} == {repository}


@pytest.mark.parametrize("page", ["docs/gitops.md", "charts/training-job/README.md"])
def test_the_command_that_deletes_a_job_names_every_kind_that_carries_its_label(page):
    (kinds,) = re.findall(r"kubectl delete (job,\S+) -l kfit\.dev/job=", (ROOT / page).read_text())
    everything = values(EVERYTHING, podDisruptionBudget={"enabled": True}, extraObjects=[])
    made = {**render(everything).objects, **render(values(CLAIMS)).objects}
    expected = {kind.lower() for kind, o in made.items() if "kfit.dev/job" in o["metadata"]["labels"]}
    assert set(kinds.split(",")) == expected

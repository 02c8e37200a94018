"""The file that the trainer reads: an annotation of the pod, mounted as a file."""

from __future__ import annotations

import yaml

from tests.chart.charts import CHART, JOB, NIGHTLY, RUN, helm, refusal, render, values
from trainer.config import Config
from trainer.config.yaml_file import load_yaml


def job_file(manifests):
    return manifests.job["template"]["metadata"]["annotations"]["kfit.dev/job-file"]


def test_it_holds_the_run_key_and_nothing_else():
    assert yaml.safe_load(job_file(render(values(resources={"gpus": 4})))) == {"run": RUN}


def test_it_is_mounted_where_the_trainer_reads_it():
    annotation = "metadata.annotations['kfit.dev/job-file']"
    for given in (JOB, values(NIGHTLY)):
        volume = next(v for v in render(given).pod["volumes"] if v["name"] == "config")
        assert volume["downwardAPI"]["items"] == [
            {"path": "job.yaml", "fieldRef": {"apiVersion": "v1", "fieldPath": annotation}}
        ]


def test_one_that_a_job_cannot_carry_is_refused_with_the_way_out():
    features = {f"column_{n}": {"kind": "numeric"} for n in range(4000)}
    said = refusal(values(run={"data": {"features": features}}))
    assert "characters, and a Job carries at most 120000; name data by globs" in said


def test_one_of_two_thousand_columns_is_carried():
    features = {f"column_{n}": {"kind": "numeric"} for n in range(2000)}
    assert (
        len(yaml.safe_load(job_file(render(values(run={"data": {"features": features}}))))["run"]["data"]["features"])
        > 1999
    )


def test_the_trainer_reads_in_the_pod_what_it_reads_on_a_laptop(tmp_path):
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(JOB))
    (tmp_path / "mounted.yaml").write_text(job_file(render(JOB)))
    assert Config.load(tmp_path / "mounted.yaml") == Config.load(tmp_path / "job.yaml")


SCALARS = """\
name: flights
image: {repository: registry.example/trainer}
run:
  data: {train: x, label: "y", features: {"n": {kind: numeric, impute: {constant: 1e-7}}}, memory: 123456789012}
  task: binary
  model:
    entrypoint: "a:b"
    args:
      million: 1000000
      tiny: 0.00001
      small: 1.5e-9
      large: 2.5e+30
      minus: -3e-6
      text: "1e5"
      quoted: "007"
      octal: 010
      clock: 12:30
      date: 2013-01-01
      version: 1.2.3
      truth: yes
      lie: off
      nothing: ~
      under: 1_000
      hex: 0x1F
      list: [1, 2.5, a, true]
  output: {uri: u}
"""


def test_every_scalar_means_to_the_trainer_what_it_means_to_helm(tmp_path):
    """On the laptop our YAML reader sees the file, in the pod it sees what helm made of it."""
    path = tmp_path / "job.yaml"
    path.write_text(SCALARS)
    done = helm("template", "x", str(CHART), "-f", str(path), "--kube-version", "1.34")
    assert done.returncode == 0, done.stderr
    (job,) = [d for d in yaml.safe_load_all(done.stdout) if d and d["kind"] == "Job"]
    mounted = tmp_path / "mounted.yaml"
    mounted.write_text(job["spec"]["template"]["metadata"]["annotations"]["kfit.dev/job-file"])
    ours, theirs = load_yaml(path)[0]["run"], load_yaml(mounted)[0]["run"]
    assert theirs == ours

"""templates/configmap.yaml: the file that the trainer reads."""

from __future__ import annotations

import yaml

from tests.chart.charts import CHART, JOB, RUN, helm, render, values
from trainer.config import Config
from trainer.config.yaml_file import load_yaml


def test_it_holds_the_run_key_and_nothing_else():
    config = render(values(resources={"gpus": 4})).objects["ConfigMap"]
    assert list(config["data"]) == ["job.yaml"]
    assert yaml.safe_load(config["data"]["job.yaml"]) == {"run": RUN}
    assert config["immutable"] is True


def test_the_trainer_reads_in_the_pod_what_it_reads_on_a_laptop(tmp_path):
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(JOB))
    (tmp_path / "mounted.yaml").write_text(render(JOB).objects["ConfigMap"]["data"]["job.yaml"])
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
    (config,) = [d for d in yaml.safe_load_all(done.stdout) if d["kind"] == "ConfigMap"]
    mounted = tmp_path / "mounted.yaml"
    mounted.write_text(config["data"]["job.yaml"])
    ours, theirs = load_yaml(path)[0]["run"], load_yaml(mounted)[0]["run"]
    assert theirs == ours


def test_it_is_called_as_its_job():
    manifests = render(JOB)
    assert manifests.objects["ConfigMap"]["metadata"]["name"] == manifests.name

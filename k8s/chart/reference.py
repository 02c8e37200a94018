"""Writes what the chart takes from the job file's model: values.schema.json, values.yaml, README.md.

`python -m k8s.chart.reference charts/training-job` writes them, `--check` fails where one is stale.
"""

from __future__ import annotations

import json
import sys
import typing
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from k8s.chart.kubernetes_types import with_kubernetes_types
from k8s.chart.values import JobFile
from trainer.config.reference import is_model, parts, section, sentence, write_or_check

_SOURCE = "Made by `make docs` from k8s/chart/values.py; change it there."


def pages() -> dict[str, str]:
    """Every generated file's content by its name inside the chart."""
    return {"values.schema.json": values_schema(), "values.yaml": values_yaml(), "README.md": readme()}


# --- values.schema.json ---------------------------------------------------------------------------


def values_schema() -> str:
    """JSON Schema (draft 7, which every helm 3 and 4 reads) of the whole job file."""
    model = JobFile.model_json_schema(ref_template="#/$defs/{model}")
    definitions, properties = model.pop("$defs"), model["properties"]
    # `helm lint` checks the chart's own values, which have neither name nor run; templates/_check.tpl asks for both.
    properties["name"]["pattern"] = f"^$|{properties['name']['pattern']}"
    properties["run"] = {"if": {"type": "object", "minProperties": 1}, "then": properties["run"]}
    # Helm hands `global` to every chart that another chart depends on.
    properties["global"] = {"type": "object"}
    # Helm checks the file merged into values.yaml, so a key is missing only where the file says null.
    for part in _expanded(JobFile):
        needed = [n for n, f in part.model_fields.items() if type(None) not in typing.get_args(f.annotation)]
        (model if part is JobFile else definitions[part.__name__])["required"] = needed
    document = with_kubernetes_types(
        {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "title": "kfit job file",
            "$comment": _SOURCE,
            **{key: model[key] for key in ("type", "additionalProperties", "required")},
            "properties": properties,
            "$defs": definitions,
        }
    )
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _expanded(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """The models whose every key stands in values.yaml."""
    yield model
    for field in model.model_fields.values():
        if is_model(field.annotation) and not field.is_required():
            yield from _expanded(field.annotation)  # type: ignore[arg-type]  # is_model says it is one


# --- values.yaml ----------------------------------------------------------------------------------


def values_yaml() -> str:
    """Every value with its default and its meaning."""
    lines = [f"# {_SOURCE}", *_values(JobFile, "")]
    return "\n".join(lines) + "\n"


def _values(model: type[BaseModel], indent: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        if not indent:
            yield ""
        yield f"{indent}# -- {sentence(field.description)}"
        if is_model(field.annotation) and not field.is_required():
            yield f"{indent}{name}:"
            yield from _values(field.annotation, indent + "  ")  # type: ignore[arg-type]  # is_model says it is one
        else:
            yield f"{indent}{name}: {_scalar(field)}"


def _scalar(field: FieldInfo) -> str:
    value = _EMPTY[bool(is_model(field.annotation))] if field.is_required() else field.default
    return "{}" if value == {} else json.dumps(value, ensure_ascii=False)


_EMPTY: dict[bool, Any] = {True: {}, False: ""}


# --- README.md ------------------------------------------------------------------------------------


def readme() -> str:
    """The chart's page: how it is used, and every value."""
    sections = [section(place, model) for place, model in _chart_parts()]
    text = f"<!-- {_SOURCE} -->\n\n{_HEAD}" + "".join(sections)
    return text.replace("(#config)", "(../../docs/job-file.md#config)")


def _chart_parts() -> Iterator[tuple[str, type[BaseModel]]]:
    """The file and its parts without those of `run`, which docs/job-file.md describes."""
    yield "job file", JobFile
    for place, model in parts("", JobFile):
        if place and not place.startswith(".run"):
            yield place.lstrip("."), model


_HEAD = """\
# training-job

Keras `model.fit` as a Kubernetes Job, or as a CronJob where `schedule.cron` is set. The values file is the job
file; its key `run:` is what the trainer reads, see [the job file](../../docs/job-file.md). Any helm 3.18 or newer
renders it; the launcher `kfit` uses this same chart.

```console
$ helm template flights charts/training-job -f job.yaml --kube-version 1.34 | kubectl apply -f -
$ helm upgrade --install flights charts/training-job -f job.yaml
```

## What it makes

| object | name | when |
| --- | --- | --- |
| Job | `<name>-<hash>` | without a schedule |
| CronJob | `<name>` | with `schedule.cron` |
| NetworkPolicy | as the Job or CronJob | unless `networkPolicy.enabled` is false |
| Service, headless | `<name>-<hash>`; with a schedule `<name>-workers` | `nodes` above 1 |
| ServiceAccount | `serviceAccount.name`, else `<name>` | `serviceAccount.create` |
| ResourceClaimTemplate | `<name>-<hash>-<claim>` | for a claim with a `deviceClassName` |
| PodDisruptionBudget | as the Job or CronJob | `podDisruptionBudget.enabled` |
| PrometheusRule | `<name>` | `alerts.enabled` |
| ConfigMap | `<name>-dashboard` | `dashboard.enabled` |

The hash is of all values that shape a pod, and of the chart's version. So the same file twice is the same Job, a
changed file is a new one beside it, and nothing ever asks Kubernetes to change a Job, which it refuses. Hours of
a schedule and the NetworkPolicy are not in the hash: they change in place.

[For platform teams](../../docs/platform.md) lists what operators ask for, the values that do it, and the
tests; [GitOps](../../docs/gitops.md) shows Argo CD and Flux; [upgrading](../../docs/upgrading.md) what older files
have to change.

Objects of one Job carry the label `kfit.dev/job=<name>-<hash>`, those of a schedule `kfit.dev/cronjob=<name>`, so that
`kubectl delete job,networkpolicy,service,configmap,poddisruptionbudget,resourceclaimtemplate -l kfit.dev/job=…` removes
them.

`helm upgrade` with a changed file takes the old Job away, running or not, as it does with all that is no longer in
its manifest; `kubectl apply` and `kfit submit` leave it. What a run left in storage stays in any case. A Job carries
its job file as an annotation of its pods: a schedule may change while a run of it is at work or tried again.

## What it takes care of

- **Restricted Pod Security**: user 10001, read-only root, no capabilities, seccomp, no token of the cluster.
  `/tmp` and `/dev/shm` are the only places to write.
- **Retries** by [exit code](../../docs/exit-codes.md): a wrong configuration or broken data ends the Job at once,
  a preemption or an eviction costs no retry, all else counts against `backoffLimit`. `activeDeadlineSeconds`
  is always set.
- **Credentials** come from a service account, or from a Secret by `envFrom`. Values are for all to read who may
  read Jobs.
- **Versions**: what is newer than Kubernetes 1.31 is left out where the cluster is older. `helm template` does
  not know the cluster; tell it by `--kube-version` or by `kubeVersion`.
- **Mistakes**: an unknown key, a wrong type and a combination that cannot work are refused, each with its remedy.

## Examples

Four GPUs on each of two nodes, from a queue of Kueue's, credentials from a Secret:

```yaml
nodes: 2
resources: {gpus: 4, cpu: 32, memory: 128Gi, shm: 16Gi}
queue: team-a
envFrom: [{secretRef: {name: object-store}}]
```

Every night, as the account that a cloud's role is bound to:

```yaml
schedule: {cron: "0 2 * * *", timeZone: Europe/Berlin}
serviceAccount: {create: true, annotations: {eks.amazonaws.com/role-arn: "arn:aws:iam::123456789012:role/trainer"}}
```

GPUs by Dynamic Resource Allocation:

```yaml
resources:
  claims: [{name: gpus, deviceClassName: gpu.nvidia.com, count: 4}]
```

A queue with a priority of its own, pods of one rack, and RDMA between them:

```yaml
nodes: 4
queue: {name: team-a, priority: high, topology: {required: cloud.provider.com/topology-rack}}
resources: {gpus: 8, cpu: 64, memory: 512Gi, shm: 64Gi, extra: {rdma/hca: 8}}
securityContext: {capabilities: {add: [IPC_LOCK]}}
```

OpenShift, where the namespace's SCC chooses the user:

```yaml
podSecurityContext: {runAsUser: null, runAsGroup: null, fsGroup: null}
```

EKS Pod Identity, under a namespace that denies all by default; on GKE and Azure alike, with what each reads:

```yaml
networkPolicy: {identity: eks-pod-identity}
serviceAccount: {create: true}
```

```yaml
networkPolicy: {identity: gke-workload-identity}
serviceAccount:
  create: true
  annotations: {iam.gke.io/gcp-service-account: trainer@project.iam.gserviceaccount.com}
```

```yaml
networkPolicy: {identity: azure-workload-identity}
serviceAccount:
  create: true
  annotations: {azure.workload.identity/client-id: 00000000-0000-0000-0000-000000000000}
podLabels: {azure.workload.identity/use: "true"}
```

An object store inside the cluster, on a port of its own:

```yaml
env: [{name: AWS_ENDPOINT_URL, value: "http://store.storage:8333"}]
networkPolicy: {storagePorts: [8333]}
```
"""


def main(arguments: list[str] | None = None) -> int:
    """Writes or checks the chart's files; 1 where one is stale."""
    return write_or_check(pages(), arguments)


if __name__ == "__main__":
    sys.exit(main())

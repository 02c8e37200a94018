"""Types that Kubernetes defines, for values that the chart copies into a manifest as they are.

Their JSON Schemas come from the official client's models when `values.schema.json` is generated, so that a mistyped key
of an affinity is refused by helm alone and by kfit. Those models take 0.7 s to import; nothing else imports them.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import WithJsonSchema

from k8s.chart.kubernetes_names import (
    ADDRESS,
    AMOUNT,
    ANNOTATION_KEY,
    DATA_KEY,
    LABEL_KEY,
    LABEL_VALUE,
    NETWORK,
    OBJECT,
    PART,
    VARIABLE,
    Rule,
    mapping,
)

#: Key under which a value's schema names the client's model that describes it.
_MARKER = "x-kubernetes-model"
#: The client's models take quantities as strings alone; the API takes numbers too.
_QUANTITIES = frozenset({"sizeLimit", "limits", "requests", "divisor"})
#: The client's models know no names. A wrong one would be refused by the API server, or by nobody and select nothing.
_NAMES: dict[str, dict[str, Rule]] = {
    "V1ConfigMapEnvSource": {"name": OBJECT},
    "V1ConfigMapKeySelector": {"name": OBJECT, "key": DATA_KEY},
    "V1ConfigMapProjection": {"name": OBJECT},
    "V1ConfigMapVolumeSource": {"name": OBJECT},
    "V1Container": {"name": PART},
    "V1EnvFromSource": {"prefix": VARIABLE.or_empty},
    "V1EnvVar": {"name": VARIABLE},
    "V1ContainerPort": {"name": PART},
    "V1HostAlias": {"ip": ADDRESS},
    "V1IPBlock": {"cidr": NETWORK},
    "V1KeyToPath": {"key": DATA_KEY},
    "V1LabelSelectorRequirement": {"key": LABEL_KEY},
    "V1LocalObjectReference": {"name": OBJECT},
    "V1NodeSelectorRequirement": {"key": LABEL_KEY},
    "V1PersistentVolumeClaimVolumeSource": {"claimName": OBJECT},
    "V1PodAffinityTerm": {"topologyKey": LABEL_KEY},
    "V1SecretEnvSource": {"name": OBJECT},
    "V1SecretKeySelector": {"name": OBJECT, "key": DATA_KEY},
    "V1SecretProjection": {"name": OBJECT},
    "V1SecretVolumeSource": {"secretName": OBJECT},
    "V1Toleration": {"key": LABEL_KEY.or_empty, "value": LABEL_VALUE},
    "V1TopologySpreadConstraint": {"topologyKey": LABEL_KEY},
    "V1Volume": {"name": PART},
    "V1VolumeMount": {"name": PART},
}
#: Words of which a key takes one.
_WORDS: dict[str, dict[str, tuple[str, ...]]] = {
    "V1Container": {"imagePullPolicy": ("Always", "IfNotPresent", "Never"), "restartPolicy": ("Always",)},
    "V1ContainerPort": {"protocol": ("TCP", "UDP", "SCTP")},
    "V1EmptyDirVolumeSource": {"medium": ("", "Memory", "HugePages", "HugePages-2Mi", "HugePages-1Gi")},
    "V1LabelSelectorRequirement": {"operator": ("In", "NotIn", "Exists", "DoesNotExist")},
    "V1NetworkPolicyPort": {"protocol": ("TCP", "UDP", "SCTP")},
    "V1NodeSelectorRequirement": {"operator": ("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt")},
    "V1PodFailurePolicyOnExitCodesRequirement": {"operator": ("In", "NotIn")},
    "V1PodFailurePolicyRule": {"action": ("FailJob", "Ignore", "Count")},
    "V1PodSecurityContext": {"fsGroupChangePolicy": ("OnRootMismatch", "Always")},
    "V1SeccompProfile": {"type": ("RuntimeDefault", "Localhost", "Unconfined")},
    "V1Toleration": {
        "operator": ("", "Exists", "Equal", "Lt", "Gt"),
        "effect": ("", "NoSchedule", "PreferNoSchedule", "NoExecute"),
    },
    "V1TopologySpreadConstraint": {"whenUnsatisfiable": ("DoNotSchedule", "ScheduleAnyway")},
}
_LABELS = mapping(LABEL_KEY, LABEL_VALUE.schema)
_PARTS: dict[str, dict[str, dict[str, Any]]] = {
    "V1HostAlias": {"hostnames": {"items": OBJECT.schema}},
    "V1LabelSelector": {"matchLabels": _LABELS},
    "V1ObjectMeta": {"labels": _LABELS, "annotations": mapping(ANNOTATION_KEY, {"type": "string"})},
    "V1PodAffinityTerm": {"namespaces": {"items": PART.schema}},
    "V1PodDNSConfig": {"nameservers": {"items": ADDRESS.schema}},
}
#: Keys that are needed beside those of the client's models, and how many a mapping may have: of some exactly one.
_SIZES: dict[str, dict[str, Any]] = {
    "V1Container": {"required": ["name", "image"]},
    "V1EnvVarSource": {"minProperties": 1, "maxProperties": 1},
    "V1LifecycleHandler": {"minProperties": 1, "maxProperties": 1},
    "V1PodFailurePolicyRule": {"minProperties": 2, "maxProperties": 2},
    "V1Volume": {"maxProperties": 2},
}
#: What a schema says to people; the Kubernetes reference says it, and values.schema.json stays small.
_PROSE = frozenset({"description", "title", "default"})


def _of(model: str) -> WithJsonSchema:
    return WithJsonSchema({_MARKER: model})


Affinity = Annotated[dict[str, Any], _of("V1Affinity")]
Container = Annotated[dict[str, Any], _of("V1Container")]
DnsConfig = Annotated[dict[str, Any], _of("V1PodDNSConfig")]
EgressRule = Annotated[dict[str, Any], _of("V1NetworkPolicyEgressRule")]
EnvVarSource = Annotated[dict[str, Any], _of("V1EnvVarSource")]
HostAlias = Annotated[dict[str, Any], _of("V1HostAlias")]
Lifecycle = Annotated[dict[str, Any], _of("V1Lifecycle")]
PodFailurePolicyRule = Annotated[dict[str, Any], _of("V1PodFailurePolicyRule")]
PodSecurityContext = Annotated[dict[str, Any], _of("V1PodSecurityContext")]
SecurityContext = Annotated[dict[str, Any], _of("V1SecurityContext")]
Toleration = Annotated[dict[str, Any], _of("V1Toleration")]
TopologySpreadConstraint = Annotated[dict[str, Any], _of("V1TopologySpreadConstraint")]
Volume = Annotated[dict[str, Any], _of("V1Volume")]


def with_kubernetes_types(schema: dict[str, Any]) -> dict[str, Any]:
    """Returns a JSON Schema in which each type of Kubernetes that a value names stands once: `kubernetes.<model>`."""
    types: dict[str, Any] = {}
    resolved: dict[str, Any] = _resolved(schema, types)
    return {**resolved, "$defs": {**resolved["$defs"], **dict(sorted(types.items()))}}


def _resolved(node: Any, types: dict[str, Any]) -> Any:
    if isinstance(node, list):
        return [_resolved(one, types) for one in node]
    if not isinstance(node, dict):
        return node
    if _MARKER not in node:
        return {key: _resolved(value, types) for key, value in node.items()}
    model = node[_MARKER]
    _add(model, types)
    return {key: value for key, value in node.items() if key != _MARKER} | {
        "allOf": [{"$ref": f"#/$defs/kubernetes.{model}"}]
    }


def _add(model: str, types: dict[str, Any]) -> None:
    from kubernetes.client import models

    schema = getattr(models, model).model_json_schema(mode="serialization", ref_template="#/$defs/kubernetes.{model}")
    for name, part in {**schema.pop("$defs", {}), model: schema}.items():
        types[f"kubernetes.{name}"] = {
            **{key: value for key, value in part.items() if key not in _PROSE},
            **_SIZES.get(name, {}),
            "properties": {
                key: _lean(value, key in _QUANTITIES) | _narrower(name, key)
                for key, value in part["properties"].items()
            },
        }


def _narrower(model: str, key: str) -> dict[str, Any]:
    """What of a property's schema the client's model does not know."""
    if rule := _NAMES.get(model, {}).get(key):
        return rule.schema
    if words := _WORDS.get(model, {}).get(key):
        return {"enum": list(words)}
    return _PARTS.get(model, {}).get(key, {})


def _lean(node: Any, quantity: bool) -> Any:
    """A property's schema without prose and null; where it holds quantities, numbers stand beside strings."""
    if isinstance(node, list):
        return [_lean(one, quantity) for one in node]
    if not isinstance(node, dict):
        return node
    if node.get("anyOf", [])[1:] == [{"type": "null"}]:  # so that an error names the key and not its alternatives
        return _lean(node["anyOf"][0], quantity)
    lean = {key: _lean(value, quantity) for key, value in node.items() if key not in _PROSE}
    number = {"type": ["string", "number"], "pattern": AMOUNT.schema["pattern"]}
    return {**lean, **number} if quantity and lean.get("type") == "string" else lean

"""Types that Kubernetes defines, for values that the chart copies into a manifest as they are.

Their JSON Schemas come from the official client's models when `values.schema.json` is generated, so that a mistyped key
of an affinity is refused by helm alone and by kfit. Those models take 0.7 s to import; nothing else imports them.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import WithJsonSchema

#: Key under which a value's schema names the client's model that describes it.
_MARKER = "x-kubernetes-model"
#: The client's models take quantities as strings alone; the API takes numbers too.
_QUANTITIES = frozenset({"sizeLimit", "limits", "requests", "divisor"})
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
            "properties": {key: _lean(value, key in _QUANTITIES) for key, value in part["properties"].items()},
        }


def _lean(node: Any, quantity: bool) -> Any:
    """A property's schema without prose and null; where it holds quantities, numbers stand beside strings."""
    if isinstance(node, list):
        return [_lean(one, quantity) for one in node]
    if not isinstance(node, dict):
        return node
    if node.get("anyOf", [])[1:] == [{"type": "null"}]:  # so that an error names the key and not its alternatives
        return _lean(node["anyOf"][0], quantity)
    lean = {key: _lean(value, quantity) for key, value in node.items() if key not in _PROSE}
    return {**lean, "type": ["string", "number"]} if quantity and lean.get("type") == "string" else lean

"""What Kubernetes takes as a name, a label, an annotation, a schedule: one rule each, for kfit and for helm.

The API server refuses all else, some of it only when the pods are made.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, WithJsonSchema
from pydantic_core import CoreSchema, core_schema

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_ANY_CASE = r"[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?"
_QUALIFIED = "[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_OCTET = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = rf"{_OCTET}(\.{_OCTET}){{3}}"
_IPV6 = "[0-9a-fA-F:.]*:[0-9a-fA-F:.]*"
_PATH = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*"


@dataclass(frozen=True)
class Rule:
    """A kind of text.

    Attributes:
        what: What such a text is, for the error.
        allowed: How it is written.
        pattern: Of the whole text, as Python, Go and JavaScript read it.
        longest: Most characters.
    """

    what: str
    allowed: str
    pattern: str
    longest: int

    @property
    def schema(self) -> dict[str, Any]:
        """JSON Schema of such a text."""
        return {"type": "string", "maxLength": self.longest, "pattern": f"^({self.pattern})$"}

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """A text with this rule among its metadata is checked by it."""
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """The same for helm."""
        return self.schema

    @property
    def or_empty(self) -> Rule:
        """The rule of a value that may be left empty."""
        return Rule(self.what, self.allowed, f"({self.pattern})?", self.longest)

    def check(self, text: str) -> str:
        """Returns the text.

        Raises:
            ValueError: It is none of the kind.
        """
        if len(text) > self.longest:
            raise ValueError(f"{text!r} has {len(text)} characters; {self.what} has at most {self.longest}")
        if not re.fullmatch(self.pattern, text):
            raise ValueError(self.refusal(repr(text)))
        return text

    def refusal(self, shown: str) -> str:
        """Returns what is said to a text that is none of the kind."""
        return f"{shown} is not {self.what}: use {self.allowed}"


NAME = Rule(
    "the name of a job", "lower-case letters, digits and -, a letter in front", "[a-z]([-a-z0-9]*[a-z0-9])?", 54
)
OBJECT = Rule(
    "the name of an object", "lower-case letters, digits, - and ., a letter or digit at both ends", _SUBDOMAIN, 253
)
PART = Rule(
    "the name of a part of a pod", "lower-case letters, digits and -, a letter or digit at both ends", _LABEL, 63
)
QUEUE = Rule("the name of a queue", OBJECT.allowed, _SUBDOMAIN, 63)  # a label of the Job holds it
LABEL_KEY = Rule(
    "the key of a label",
    "letters, digits, -, _ and ., at most 63, a letter or digit at both ends; before it may stand a domain and /",
    f"({_SUBDOMAIN}/)?{_QUALIFIED}",
    317,
)
LABEL_VALUE = Rule(
    "the value of a label",
    "letters, digits, -, _ and ., a letter or digit at both ends",
    "([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?",
    63,
)
ANNOTATION_KEY = Rule(
    "the key of an annotation", LABEL_KEY.allowed, rf"({_ANY_CASE}(\.{_ANY_CASE})*/)?{_QUALIFIED}", 317
)
#: cpu and its like are refused by the chart, which names their own keys.
RESOURCE = Rule(
    "a resource of nodes",
    "a domain, / and a name (rdma/hca), or hugepages-<size> (hugepages-2Mi)",
    rf"{_SUBDOMAIN}/{_QUALIFIED}|hugepages-[0-9]+[KMGT]i|cpu|memory|ephemeral-storage",
    317,
)
CONTROLLER = Rule(
    "the name of a controller",
    "a domain, / and a path, kueue.x-k8s.io/multikueue say",
    rf"{_SUBDOMAIN}/[-A-Za-z0-9/._~%!$&'()*+,;=:]+",
    63,
)
DATA_KEY = Rule("a key of a Secret or ConfigMap", "letters, digits, -, _ and .", "[-._A-Za-z0-9]+", 253)
VARIABLE = Rule(
    "the name of a variable", "letters, digits, -, _ and ., no digit in front", "[A-Za-z_.-][A-Za-z0-9_.-]*", 32767
)
ADDRESS = Rule("an IP address", "10.0.0.1 or fd00::1", f"{_IPV4}|{_IPV6}", 45)
NETWORK = Rule(
    "a network", "10.0.0.0/8 or fd00::/8", f"{_IPV4}/([12]?[0-9]|3[0-2])|{_IPV6}/([1-9]?[0-9]|1[01][0-9]|12[0-8])", 49
)
AMOUNT = Rule("an amount", "4, 500m or 16Gi", r"[0-9.]+([eE][-+]?[0-9]+|[numkMGTPE]|[KMGTPE]i)?", 40)
REPOSITORY = Rule(
    "an image's registry and name",
    "registry.example/team/trainer, in lower case, without https:// and without a tag: image.tag has it",
    rf"(({_ANY_CASE}(\.{_ANY_CASE})*|\[[0-9A-Fa-f:]+\])(:[0-9]+)?/)?{_PATH}(/{_PATH})*",
    255,
)
DIGEST = Rule("a digest", "sha256: and 64 hexadecimal digits", "sha256:[0-9a-f]{64}", 71)
FOLDER = Rule("a path in the container", "a path from / on, without a colon", "/[^:]*", 4096)
VERSION = Rule("a version of Kubernetes", "1.34 or v1.34.2", r"v?1\.\d+(\.\d+)?([-+].*)?", 100)
TAG = Rule("a tag", "letters, digits, _, - and ., no - or . in front", "[A-Za-z0-9_][A-Za-z0-9_.-]*", 128)


def _cron(*fields: str) -> str:
    """Pattern of a cron line: of each field lists, ranges and steps of what it holds."""
    parts = [rf"([*?]|({one})(-({one}))?)(/[0-9]+)?" for one in fields]
    return " +".join(f"{part}(,{part})*" for part in parts)


_DAYS = "[0-6]|[Ss][Uu][Nn]|[Mm][Oo][Nn]|[Tt][Uu][Ee]|[Ww][Ee][Dd]|[Tt][Hh][Uu]|[Ff][Rr][Ii]|[Ss][Aa][Tt]"
CRON = Rule(
    "a schedule",
    "five fields: minute (0-59), hour (0-23), day (1-31), month (1-12, jan), weekday (0-6 from Sunday, sun)",
    "@(hourly|daily|midnight|weekly|monthly|yearly|annually)|"
    + _cron(
        "0?[0-9]|[1-5][0-9]", "0?[0-9]|1[0-9]|2[0-3]", "0?[1-9]|[12][0-9]|3[01]", "0?[1-9]|1[0-2]|[A-Za-z]{3}", _DAYS
    ),
    200,
)
ZONE = Rule("a time zone", "a name such as Europe/Berlin", "[A-Za-z][-+A-Za-z0-9_]*(/[-+A-Za-z0-9_]+)*", 64)


def words(pattern: str, shown: str) -> str:
    """Returns what a rule says to a text, by the pattern that helm shows; empty where it is no rule's."""
    for rule in globals().values():
        if isinstance(rule, Rule) and pattern in (rule.schema["pattern"], rule.or_empty.schema["pattern"]):
            return rule.refusal(shown)
    return ""


def mapping(keys: Rule, values: dict[str, Any]) -> dict[str, Any]:
    """JSON Schema of a mapping.

    With `propertyNames`, which pydantic would write, helm 4 names another place in its error.
    """
    return {"type": "object", "patternProperties": {keys.schema["pattern"]: values}, "additionalProperties": False}


ObjectName = Annotated[str, OBJECT]
OptionalObjectName = Annotated[str, OBJECT.or_empty]
PartName = Annotated[str, PART]
QueueName = Annotated[str, QUEUE.or_empty]
OptionalLabelKey = Annotated[str, LABEL_KEY.or_empty]
LabelValue = Annotated[str, LABEL_VALUE]
Labels = Annotated[dict[Annotated[str, LABEL_KEY], LabelValue], WithJsonSchema(mapping(LABEL_KEY, LABEL_VALUE.schema))]
Annotations = Annotated[
    dict[Annotated[str, ANNOTATION_KEY], str], WithJsonSchema(mapping(ANNOTATION_KEY, {"type": "string"}))
]

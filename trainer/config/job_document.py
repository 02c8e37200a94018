"""Job files as one document: merged as helm merges values files, and overridden as helm's `--set` overrides.

`kfit` hands this document to helm, so a key has one meaning for the trainer and for the chart.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainer.config.overrides import Override, apply_override
from trainer.config.yaml_file import KeyPath, display_name, load_yaml
from trainer.errors import ConfigError

Files = str | Path | Sequence[str | Path]

#: JSON writes these as they are, and YAML does not take them.
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")


@dataclass(frozen=True)
class JobDocument:
    """A job file, or several and their overrides.

    Attributes:
        values: The keys.
        places: Where each key was written, by its path: `job.yaml:3`, `--set nodes=2`.
        source: The files' names, for messages.
    """

    values: dict[str, Any]
    places: dict[KeyPath, str] = field(default_factory=dict)
    source: str = "job file"

    def with_keys(self, **keys: Any) -> JobDocument:
        """Returns the document with top-level keys set."""
        return JobDocument(self.values | keys, self.places, self.source)

    def as_yaml(self) -> str:
        """Returns the values as one line of YAML, which helm reads as they are here.

        Raises:
            ConfigError: A value is none that helm's YAML has: `!!binary`, `!!set`, `.inf`.
        """
        try:
            return _UNPRINTABLE.sub(_escaped, json.dumps(self.values, ensure_ascii=False, allow_nan=False))
        except (TypeError, ValueError) as wrong:
            remedy = "use text, numbers, truth values, lists and mappings"
            raise ConfigError(f"a value that helm does not take: {wrong}", where=self.source, remedy=remedy) from wrong


def load_document(files: Files, overrides: Sequence[Override] = ()) -> JobDocument:
    """Reads job files and applies overrides.

    Args:
        files: A job file, or several: the later wins, mappings are merged key by key. `-` is stdin.
        overrides: `--set` expressions, or pairs of another flag and its expression, applied in their order.

    Raises:
        ConfigError: A file is not there or not YAML, or an override does not fit it.
    """
    paths = [Path(file) for file in ([files] if isinstance(files, str | Path) else files)]
    values: dict[str, Any] = {}
    places: dict[KeyPath, str] = {}
    for path in paths:
        document, lines = load_yaml(path)
        values = merged(values, document)
        places |= {at: f"{display_name(path)}:{line}" for at, line in lines.items()}
    for override in overrides:
        flag, expression = ("--set", override) if isinstance(override, str) else override
        for keys in apply_override(values, expression, flag):
            places[keys] = f"{flag} {expression}"
    return JobDocument(values, places, ", ".join(map(display_name, paths)))


def merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Returns two mappings as one: below a key that is a mapping in both they are merged, else `above` wins."""
    both = dict(below)
    for key, value in above.items():
        under = both.get(key)
        both[key] = merged(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return both


def _escaped(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"

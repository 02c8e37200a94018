"""Caches the result of the statistics pass under the fingerprint of the data that it describes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trainer import local_cache
from trainer.config import Config
from trainer.schema import ColumnStatistics, Statistics

#: Raised when what is stored changes its meaning.
_FORMAT = 4


@dataclass(frozen=True)
class ScanResult:
    """Result of the statistics pass.

    Attributes:
        statistics: By split.
        split_rows: Shard URI -> (training rows, validation rows) of each row group.
        blocks: Shard URI -> `Shard.blocks`, where it has some.
        bad: What was left out.
        odd: Warnings about columns.
    """

    statistics: Mapping[str, Statistics]
    split_rows: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]
    blocks: Mapping[str, Mapping[str, Mapping[int, tuple[int, ...]]]]
    bad: tuple[str, ...]
    odd: tuple[str, ...]


def cache_key(config: Config, fingerprint: str, uris: Sequence[str]) -> str:
    """Names what the statistics depend on: the data, and how it is read."""
    parts = [_FORMAT, fingerprint, config.task, config.data.model_dump(mode="json"), list(uris)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def load(folder: str | Path, key: str) -> ScanResult | None:
    """Returns the stored result, or None where there is none or it cannot be read."""
    try:
        stored = json.loads(local_cache.read(folder, f"{key}.json") or b"")
        return ScanResult(
            {split: statistics_from(s) for split, s in stored["statistics"].items()},
            {uri: (tuple(t), tuple(v)) for uri, (t, v) in stored["split_rows"].items()},
            {uri: _blocks(stored_blocks) for uri, stored_blocks in stored["blocks"].items()},
            tuple(stored["bad"]),
            tuple(stored["odd"]),
        )
    except (ValueError, KeyError, TypeError):
        return None


def store(folder: str | Path, key: str, known: ScanResult) -> None:
    """Writes it whole or not at all; a folder that cannot be written costs a pass next time, not this run."""
    statistics = {split: asdict(s) for split, s in known.statistics.items()}
    local_cache.write(folder, f"{key}.json", json.dumps(vars(known) | {"statistics": statistics}).encode())


def statistics_from(stored: Mapping[str, Any]) -> Statistics:
    """Statistics from their JSON (`dataclasses.asdict`)."""
    return Statistics(stored["rows"], {name: _column(c) for name, c in stored["columns"].items()})


def _blocks(stored: Mapping[str, Mapping[str, Sequence[int]]]) -> dict[str, dict[int, tuple[int, ...]]]:
    return {split: {int(g): tuple(rows) for g, rows in groups.items()} for split, groups in stored.items()}


def _column(stored: dict[str, Any]) -> ColumnStatistics:
    edges, counts = stored["histogram"]
    return ColumnStatistics(
        **{
            **stored,
            "quantiles": {float(p): v for p, v in stored["quantiles"].items()},
            "histogram": (tuple(edges), tuple(counts)),
            "values": tuple((v, n) for v, n in stored["values"]),
            "element_means": tuple(stored["element_means"]),
            "element_variances": tuple(stored["element_variances"]),
            "percentiles": tuple(stored["percentiles"]),
        }
    )

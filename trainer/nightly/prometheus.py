"""The last run and the run in production as Prometheus reads them: `metrics.prom`, beside production.json.

The text exposition format, for whatever brings a file to Prometheus, such as the node exporter's textfile collector;
`run.metrics` pushes the same to a Pushgateway. Alert rules on these names are in the chart.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from trainer import storage
from trainer.nightly.history import RunSummary, duration_s, parse_time
from trainer.nightly.production import Production

NAME = "metrics.prom"
_STATUSES = ("succeeded", "skipped", "failed", "preempted")
_Sample = tuple[Mapping[str, str], float | None]
Family = tuple[str, str, Sequence[_Sample]]


def write(output_uri: str, last_run: CollectorRegistry) -> None:
    """Writes the file anew.

    Args:
        output_uri: The job's `output.uri`.
        last_run: What `last_run` returned.

    Raises:
        StorageError: The store is out of reach or refuses.
    """
    storage.write(storage.join(output_uri, NAME), generate_latest(last_run))


def last_run(
    output_uri: str, result: Mapping[str, Any], runs: Sequence[RunSummary], serving: Production | None
) -> CollectorRegistry:
    """Returns the metrics of the last run and of production.

    Args:
        output_uri: The job's `output.uri`.
        result: The last run's result.json.
        runs: All runs, that one included.
        serving: What is in production.
    """
    return registry_of(output_uri, _families(result, runs, serving))


def registry_of(output_uri: str, families: Iterable[Family]) -> CollectorRegistry:
    """Returns gauges; every sample is labelled with the output's URI, and none is NaN or infinite.

    Args:
        output_uri: The job's `output.uri`.
        families: Name, meaning, and samples: labels and value; a value of None is left out.
    """
    registry = CollectorRegistry()
    for name, meaning, samples in families:
        known = [(labels, value) for labels, value in samples if value is not None and math.isfinite(value)]
        if not known:
            continue
        gauge = Gauge(name, meaning, ["output", *known[0][0]], registry=registry)
        for labels, value in known:
            gauge.labels(output=output_uri.rstrip("/"), **labels).set(value)
    return registry


def _families(result: Mapping[str, Any], runs: Sequence[RunSummary], serving: Production | None) -> Iterator[Family]:
    decision = result.get("decision") or {}
    gain = decision.get("gain") or {}
    rows = result.get("rows") or {}
    status = result["status"]
    yield "kfit_last_run_finished_seconds", "When the last run ended.", [({}, _seconds(result.get("finished")))]
    yield (
        "kfit_last_run_status",
        "1 for how the last run ended.",
        [({"status": s}, float(s == status)) for s in _STATUSES],
    )
    yield "kfit_last_run_duration_seconds", "How long it took.", [({}, duration_s(result.get("ledger_s") or {}))]
    yield "kfit_last_run_rows", "Rows by split.", [({"split": s}, float(n)) for s, n in rows.items()]
    metrics: list[_Sample] = [
        ({"split": split, "metric": name}, _number(value))
        for split, values in {**(result.get("metrics") or {}), "holdout": decision.get("metrics") or {}}.items()
        for name, value in values.items()
    ]
    yield "kfit_last_run_metric", "Metrics by split.", metrics
    yield "kfit_last_run_promoted", "Whether it moved production.", [({}, float(bool(decision.get("promoted"))))]
    bounds: list[_Sample] = [({"bound": b}, _number(gain.get(b))) for b in ("low", "gain", "high")]
    yield "kfit_last_run_gain", "Gain over production and its interval.", bounds
    trained = max((run.finished for run in runs if run.status == "succeeded"), default=None)
    yield "kfit_last_trained_seconds", "When a run last trained to the end.", [({}, _seconds(trained))]
    yield "kfit_nights_without_training", "Runs that ended since then.", [({}, float(_without_training(runs)))]
    moved = _seconds(serving.when) if serving else None
    yield "kfit_production_promoted_seconds", "When production moved.", [({}, moved)]
    yield (
        "kfit_production_info",
        "1 for the run in production.",
        [({"run": serving.run, "generation": str(serving.generation)}, 1.0)] if serving else [],
    )


def _without_training(runs: Sequence[RunSummary]) -> int:
    ended = [run for run in runs if run.finished]
    return next((i for i, run in enumerate(reversed(ended)) if run.status == "succeeded"), len(ended))


def _seconds(moment: Any) -> float | None:
    try:
        return parse_time(str(moment)).timestamp()
    except ValueError:
        return None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None

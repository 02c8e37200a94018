"""Class weights: from the configuration and the training labels' counts to a factor a label index."""

from __future__ import annotations

from trainer.config import Config, Target
from trainer.errors import ConfigError
from trainer.feed.statistics.prepare import Prepared
from trainer.schema import LabelField


def class_weights(config: Config, prepared: Prepared) -> tuple[dict[int, float] | None, ...]:
    """The factor of each class of each label.

    Args:
        config: `class_weight` of its targets: `balanced` is rows / (classes * rows of the class), as scikit-learn has
            it; a mapping may leave classes out, they weigh 1.
        prepared: Counts of the training labels.

    Returns:
        For each label: class index -> factor, None without class weights.

    Raises:
        ConfigError: A class that the label does not have, or a negative weight.
    """
    return tuple(
        _of_label(target, label, prepared) for target, label in zip(config.targets, prepared.layout.labels, strict=True)
    )


def _of_label(target: Target, label: LabelField, prepared: Prepared) -> dict[int, float] | None:
    configured = target.class_weight
    if configured is None:
        return None
    classes: tuple[str | int, ...] = label.classes or (0, 1)
    if configured == "balanced":
        counts = dict(prepared.statistics["train"].columns[label.name].values)
        rows = sum(counts.values())
        return {i: rows / (len(classes) * counts[c]) for i, c in enumerate(classes)}
    index = {str(c): i for i, c in enumerate(classes)}
    for name, weight in configured.items():
        if str(name) not in index or weight < 0:
            problem = "is negative" if str(name) in index else "is no class of the label"
            raise ConfigError(
                f"class_weight {name!r}: {weight} {problem}", where=f"run.{target.fit_key}.class_weight",
                remedy=f"classes are {', '.join(map(str, classes[:20]))}; weights are >= 0",
            )  # fmt: skip
    return dict.fromkeys(index.values(), 1.0) | {index[str(n)]: float(w) for n, w in configured.items()}


def row_class_weights(config: Config, prepared: Prepared) -> dict[int, float] | None:
    """The factors of a row's weight: those of the only label. Of several, each weighs its own loss."""
    weights = class_weights(config, prepared)
    return weights[0] if len(weights) == 1 else None

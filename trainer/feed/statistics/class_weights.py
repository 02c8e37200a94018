"""Class weights: from the configuration and the training labels' counts to a factor a label index."""

from __future__ import annotations

from trainer.config import Config
from trainer.errors import ConfigError
from trainer.feed.statistics.prepare import Prepared


def class_weights(config: Config, prepared: Prepared) -> dict[int, float] | None:
    """The factor of each class.

    Args:
        config: `fit.class_weight`: `balanced` is rows / (classes * rows of the class), as scikit-learn has it;
            a mapping may leave classes out, they weigh 1.
        prepared: Counts of the training labels.

    Returns:
        Label index -> factor, None without class weights.

    Raises:
        ConfigError: A class that the label does not have, or a negative weight.
    """
    configured = config.fit.class_weight
    if configured is None:
        return None
    label = prepared.layout.label
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
                f"class_weight {name!r}: {weight} {problem}", where="run.fit.class_weight",
                remedy=f"classes are {', '.join(map(str, classes[:20]))}; weights are >= 0",
            )  # fmt: skip
    return dict.fromkeys(index.values(), 1.0) | {index[str(n)]: float(w) for n, w in configured.items()}

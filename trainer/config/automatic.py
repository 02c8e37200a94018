"""What `auto` means in `run.fit`: numbers that follow from how many rows there are to train on, and nothing else.

They are resolved once, after the pass over the data, so every retry, every worker and every number of replicas
trains with the same ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trainer.config.training import EarlyStopping, Fit

if TYPE_CHECKING:
    from trainer.config import Config

#: Every size divides among 1, 2, 3, 4, 6, 8, 12 and 16 replicas.
_BATCH_SIZES = (48, 96, 192, 384, 768, 1536, 3072, 6144)
#: Fewest steps of an epoch, where the smallest batch allows.
_LEAST_STEPS = 24
#: Beyond some 6,000 rows the batch grows with the square root of the rows, and so do the steps of an epoch.
_ROWS_OF_A_BATCH_PER_ROOT = 3.2
_MOST_EPOCHS, _LEAST_EPOCHS = 60, 12
#: Up to so many rows a run has the most epochs; beyond, their number falls with the square root of the rows.
_ROWS_OF_MOST_EPOCHS = 20_000


def resolve_automatic(config: Config, train_rows: int, validation_rows: int) -> Config:
    """Replaces `auto` in `run.fit` by numbers.

    Args:
        config: The configuration.
        train_rows: Rows of the training split.
        validation_rows: Rows of the validation split; without any there is no early stopping.

    Returns:
        The configuration with `epochs`, `batch_size` and `early_stopping` known.
    """
    fit, changes = config.fit, dict[str, Any]()
    if fit.epochs == "auto":
        changes["epochs"] = automatic_epochs(train_rows)
    if fit.batch_size == "auto":
        changes["batch_size"] = automatic_batch_size(train_rows)
    if fit.early_stopping == "auto":
        epochs = changes.get("epochs", fit.epochs)
        patience = max(3, -(-epochs // 3))
        changes["early_stopping"] = EarlyStopping(patience=patience) if validation_rows else None
    return config.model_copy(update={"fit": fit.model_copy(update=changes)})


def automatic_epochs(rows: int) -> int:
    """Epochs of a run on so many training rows."""
    fewer = _MOST_EPOCHS * math.sqrt(_ROWS_OF_MOST_EPOCHS / max(rows, 1))
    return max(_LEAST_EPOCHS, min(_MOST_EPOCHS, round(fewer)))


def automatic_batch_size(rows: int) -> int:
    """The largest size that leaves an epoch of so many training rows enough steps; never more than the rows."""
    most = min(rows / _LEAST_STEPS, _ROWS_OF_A_BATCH_PER_ROOT * math.sqrt(rows))
    fitting = [size for size in _BATCH_SIZES if size <= most]
    return min(max(rows, 1), fitting[-1] if fitting else _BATCH_SIZES[0])


def automatic_choices(asked: Fit, resolved: Fit) -> dict[str, Any]:
    """The keys of `run.fit` that were `auto`, and what they have become, as plain JSON."""
    values = resolved.model_dump(mode="json")
    return {name: values[name] for name in ("epochs", "batch_size", "early_stopping") if getattr(asked, name) == "auto"}


def describe_choices(choices: Mapping[str, Any]) -> str:
    """The choices as a person reads them: `epochs 40, batch_size 96, early_stopping after 14 epochs`."""
    words = [f"{name} {choices[name]}" for name in ("epochs", "batch_size") if name in choices]
    stop = choices.get("early_stopping")
    return ", ".join(
        [*words, *([f"early_stopping after {stop['patience']} epochs without a better one"] if stop else [])]
    )

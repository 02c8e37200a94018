"""Refuses a model that cannot fit in memory before anything of it is allocated."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from trainer.config import Builtin, Config
from trainer.errors import ConfigError
from trainer.machine import memory_limit_bytes
from trainer.model.features import Features

_FLOAT_BYTES = 4
_GIB = 1024**3


def check_size(features: Features, config: Config, limit_bytes: int | None = None) -> None:
    """Compares the largest single tensors, a lower bound of what training needs, with this container's memory.

    Raises:
        ConfigError: An embedding, the encoded batch or the first kernel alone is larger, with its size.
    """
    limit_bytes = limit_bytes or memory_limit_bytes()
    for elements, what, where, remedy in _tensors(features, config):
        size_bytes = elements * _FLOAT_BYTES
        if size_bytes > limit_bytes:
            raise ConfigError(
                f"{what} takes {size_bytes / _GIB:,.1f} GiB of {limit_bytes / _GIB:,.1f} GiB of memory",
                where=where,
                remedy=remedy,
            )


def _tensors(features: Features, config: Config) -> Iterator[tuple[int, str, str, str]]:
    """Tensors that may be large: the number of elements, what it is, the key that decides it, and a remedy."""
    for name, (rows, width) in features.embedding_shapes().items():
        remedy = "use a smaller size, fewer buckets or a smaller max_vocabulary"
        yield rows * width, f"the embedding of {name!r} ({rows:,} × {width:,})", f"run.data.features.{name}", remedy
    rows = config.fit.batch_size if isinstance(config.fit.batch_size, int) else 1  # a run has resolved `auto`
    batch = f"a batch of {rows:,} rows of {features.width:,} encoded inputs"
    remedy = "use fewer buckets, encode: embedding in place of one_hot, or a smaller batch_size"
    yield rows * features.width, batch, "run.fit.batch_size", remedy
    if isinstance(config.model, Builtin) and config.model.builtin != "linear":
        remedy = "use fewer units or fewer encoded inputs"
        for inputs, units in itertools.pairwise([features.width, *config.model.hidden]):
            yield inputs * units, f"a layer of {units:,} units on {inputs:,} inputs", "run.model.hidden", remedy

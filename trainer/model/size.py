"""Refuses a model that cannot fit in memory before anything of it is allocated."""

from __future__ import annotations

import itertools

from trainer.config import Builtin, Config
from trainer.errors import ConfigError
from trainer.machine import memory_limit_bytes
from trainer.model.features import Features

_FLOAT_BYTES = 4
_GIB = 1024**3


def check_size(features: Features, config: Config, limit_bytes: int | None = None) -> None:
    """Compares the largest single tensors with the memory there is: a lower bound of what training needs.

    Args:
        features: The packed features.
        config: The job file's `run:` key.
        limit_bytes: Memory; that of this container or machine by default.

    Raises:
        ConfigError: An embedding, the encoded batch or the first kernel alone is larger, with its size.
    """
    limit_bytes = limit_bytes or memory_limit_bytes()
    for name, (rows, width) in features.embedding_shapes().items():
        _refuse_above(
            limit_bytes,
            rows * width * _FLOAT_BYTES,
            f"the embedding of {name!r} ({rows:,} × {width:,})",
            f"run.data.features.{name}",
            "use a smaller size, fewer buckets or a smaller max_vocabulary",
        )
    rows = config.fit.batch_size if isinstance(config.fit.batch_size, int) else 1  # a run has resolved `auto`
    _refuse_above(
        limit_bytes,
        rows * features.width * _FLOAT_BYTES,
        f"a batch of {rows:,} rows of {features.width:,} encoded inputs",
        "run.fit.batch_size",
        "use fewer buckets, encode: embedding in place of one_hot, or a smaller batch_size",
    )
    if isinstance(config.model, Builtin) and config.model.builtin != "linear" and config.model.hidden:
        widths = [features.width, *config.model.hidden]
        for inputs, units in itertools.pairwise(widths):
            _refuse_above(
                limit_bytes,
                inputs * units * _FLOAT_BYTES,
                f"a layer of {units:,} units on {inputs:,} inputs",
                "run.model.hidden",
                "use fewer units or fewer encoded inputs",
            )


def _refuse_above(limit_bytes: int, size_bytes: int, what: str, where: str, remedy: str) -> None:
    if size_bytes > limit_bytes:
        raise ConfigError(
            f"{what} takes {size_bytes / _GIB:,.1f} GiB of {limit_bytes / _GIB:,.1f} GiB of memory",
            where=where,
            remedy=remedy,
        )

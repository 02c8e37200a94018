"""Keras training as a batch job: Parquet in, a servable model out.

As a library: `Config.load(path)`, `dataset(config, split)`, `fit(config)`. Names are resolved on first
use, so that `import trainer` costs no TensorFlow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainer.config import Config
    from trainer.feed.pipeline.library import dataset
    from trainer.run.fit import fit

__version__ = "0.1.0"
__all__ = ["Config", "__version__", "dataset", "fit"]

_HOMES = {"Config": "trainer.config", "dataset": "trainer.feed.pipeline.library", "fit": "trainer.run.fit"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'trainer' has no attribute {name!r}")

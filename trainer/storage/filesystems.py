"""fsspec's file systems, one a scheme and process, with this project's limits instead of theirs."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from trainer.errors import ConfigError
from trainer.storage.calls import DEADLINE_S, STALL_S
from trainer.storage.conditions import STORES


@lru_cache(maxsize=16)
def _opened(scheme: str, process: int) -> Any:
    del process  # in the key alone: a file system and its I/O thread do not survive a fork
    import fsspec

    options: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
    if scheme not in ("s3", "s3a"):
        return fsspec.filesystem(scheme, **options)
    # One deadline governs retries (ours), so botocore and s3fs try once, and give up in time for another try.
    options["config_kwargs"] = {
        "connect_timeout": min(5.0, DEADLINE_S / 2),
        "read_timeout": min(STALL_S, DEADLINE_S / 2),
        "retries": {"total_max_attempts": 1, "mode": "standard"},
        "max_pool_connections": 32,
    }
    if any(os.environ.get(k) for k in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")):
        # Self-hosted S3 rarely has a name per bucket.
        options["config_kwargs"]["s3"] = {"addressing_style": "path"}
    opened = fsspec.filesystem(scheme, **options)
    opened.retries = 1
    return opened


def filesystem(uri: str) -> Any:
    """The file system of a URI that is not a local path.

    Raises:
        ConfigError: A scheme that is no store's, or whose package is not installed.
    """
    scheme = uri.partition("://")[0]
    if scheme not in STORES:
        raise ConfigError(f"unknown scheme {scheme!r}", where=uri, remedy="use a path, file://, s3://, gs:// or az://")
    try:
        return _opened(scheme, os.getpid())
    except ImportError as missing:
        raise ConfigError(
            f"{scheme}:// needs a package that is not installed ({missing.name or missing})",
            where=uri,
            remedy=f"pip install 'kfit[{STORES[scheme]}]'",
        ) from missing


def on_io_thread(action: Callable[[], None]) -> None:
    """Lets the thread in which fsspec talks to object stores do something."""
    from fsspec.asyn import get_loop

    get_loop().call_soon_threadsafe(action)

"""What decides the outcome of a night: data, configuration and code. The same digest, the same model."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer.config import Config
from trainer.user_code import add_working_folder

#: Where a run writes, tells and is kept, and how long it waits, does not change what it learns.
_OUTSIDE: Any = {
    **dict.fromkeys(("output", "notify", "metrics"), True),
    "data": {"memory", "unchanged", "checks"},
    "fit": {"stall", "profile"},
}


#: Packages whose version counts already.
_IN_VERSIONS = ("keras", "tensorflow")


def digest(config: Config, fingerprint: str, versions: Mapping[str, str], fetched: Mapping[str, str]) -> str:
    """SHA-256 over data, configuration and code.

    Args:
        config: As in the job file, windows unresolved: a new night alone is no new configuration.
        fingerprint: Of the training and validation shards.
        versions: Of the packages that shape a result.
        fetched: Digest of what else the job is made of, by what it is.
    """
    parts = {
        "data": fingerprint,
        "config": config.model_dump(mode="json", exclude=_OUTSIDE),
        "versions": dict(versions),
        "git_commit": os.environ.get("KFIT_GIT_COMMIT"),
        "fetched": dict(fetched),
        "user_code": {name: _code(name) for name in config.entrypoints},
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _code(entrypoint: str) -> str | None:
    """A digest of the user's package, which is found without being imported."""
    add_working_folder()
    top = entrypoint.partition(":")[0].partition(".")[0]
    if top in _IN_VERSIONS:
        return None
    spec = importlib.util.find_spec(top)
    if spec is None:
        return None
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    files = [file for folder in folders for file in folder.rglob("*.py")] or [Path(spec.origin or "")]
    hashed = hashlib.sha256()
    for file in sorted(f for f in files if f.is_file()):
        hashed.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return hashed.hexdigest()

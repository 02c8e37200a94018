"""Where `trainer predict` writes: a target for every shard, that is no input and no other shard's target."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence

from trainer import storage
from trainer.errors import ConfigError
from trainer.uris import WILDCARD, glob_regex, local_path

#: Schemes that mean the same store.
_SCHEMES = {"s3a": "s3", "gcs": "gs", "abfs": "az", "abfss": "az"}


def plan_outputs(data: str | Sequence[str], shards: Sequence[storage.StoredObject], output: str) -> dict[str, str]:
    """The target of every shard. Reads names alone; nothing is written.

    Args:
        data: The folders, URIs and globs that the shards were listed from.
        shards: From `storage.expand`. A file that is named in two ways (`x`, `file:///…/x`, a link) is taken once.
        output: A folder or URI.

    Returns:
        Shard's URI -> target's URI, in the order of shards. Targets keep the shards' names; where two shards have
        the same name, all of them keep their paths from the folder that holds them all.

    Raises:
        ConfigError: The output is an input, lies inside one, or its files would be found by a glob of the inputs.
    """
    distinct = {canonical(shard.uri): shard for shard in reversed(shards)}
    once = [shard for shard in shards if distinct[canonical(shard.uri)] is shard]
    targets = {shard.uri: storage.join(output, name) for shard, name in zip(once, _names(once), strict=True)}
    _refuse_inputs_as_targets(once, targets, output)
    for given in [data] if isinstance(data, str) else data:
        _refuse_output_within(given, targets, output)
    return targets


def canonical(uri: str) -> str:
    """One text for every way to name a file or folder: links resolved, no trailing slash, one scheme a store."""
    if (path := local_path(uri)) is not None:
        return os.path.realpath(path)
    scheme, _, rest = uri.partition("://")
    return f"{_SCHEMES.get(scheme, scheme)}://{rest.rstrip('/')}"


def _names(shards: Sequence[storage.StoredObject]) -> list[str]:
    counts = Counter(shard.name for shard in shards)
    if max(counts.values(), default=0) < 2:
        return [shard.name for shard in shards]
    parts = [_path_parts(shard.uri) for shard in shards]
    folders = [one[:-1] for one in parts]
    differing = (i for i, names in enumerate(zip(*folders, strict=False)) if len(set(names)) > 1)
    common = next(differing, min(map(len, folders)))
    return ["/".join(one[common:]) for one in parts]


def _path_parts(uri: str) -> list[str]:
    """The parts of an absolute path or URI; links keep the names that were given."""
    path = local_path(uri)
    text = os.path.abspath(path) if path is not None else uri.replace("://", "/", 1)  # noqa: PTH100 - keeps links
    return [part for part in text.split("/") if part]


def _refuse_inputs_as_targets(shards: Sequence[storage.StoredObject], targets: dict[str, str], output: str) -> None:
    inputs = {canonical(shard.uri): shard.uri for shard in shards}
    files = {identity: uri for uri in inputs.values() if (identity := _identity(uri))}
    for place in (output, *targets.values()):
        same = inputs.get(canonical(place)) or files.get(_identity(place) or (0, 0))
        if same is not None:
            raise _refusal(f"the output {place} is the input {same}", output)


def _identity(uri: str) -> tuple[int, int] | None:
    """Device and inode of a local file that is there: two paths of one file, whatever leads to it."""
    path = local_path(uri)
    if path is None or not path.is_file():
        return None
    status = path.stat()
    return status.st_dev, status.st_ino


def _refuse_output_within(given: str, targets: dict[str, str], output: str) -> None:
    if not WILDCARD.search(given):
        folder, place = canonical(given), canonical(output)
        if place == folder or place.startswith(folder.rstrip("/") + "/"):
            raise _refusal(f"the output lies inside the input {given}", output)
        return
    head = WILDCARD.split(given, maxsplit=1)[0].rpartition("/")[0]
    folder = canonical(head or ("/" if given.startswith("/") else ".")).rstrip("/") + "/"
    pattern = re.compile(glob_regex(given[len(head) + 1 :] if head or given.startswith("/") else given))
    for target in targets.values():
        place = canonical(target)
        if place.startswith(folder) and pattern.fullmatch(place[len(folder) :]):
            raise _refusal(f"the input {given} would find the output {target}", output)


def _refusal(what: str, output: str) -> ConfigError:
    return ConfigError(what, where=f"--output {output}", remedy="write to a folder outside the inputs")

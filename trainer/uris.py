"""What a URI's text says: local or not, globs, hive folders. No store is asked."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote, unquote

WILDCARD = re.compile(r"[*?\[]")


def local_path(uri: str) -> Path | None:
    """The path of a local URI, None for an object store's."""
    if uri.startswith("file://"):
        return Path(uri.removeprefix("file://"))
    return None if "://" in uri else Path(uri)


def join(uri: str, *parts: str) -> str:
    """Appends path parts to a URI."""
    return (
        "/".join([uri.rstrip("/") or "/", *parts]).replace("//", "/")
        if "://" not in uri
        else "/".join([uri.rstrip("/"), *parts])
    )


def glob_regex(glob: str) -> str:
    """The regular expression of a glob: `*` and `?` stop at a slash, `**` does not."""
    out = []
    for part in re.split(r"(\*\*/?|\*|\?|\[[^\]]*\])", glob):
        if part.startswith("**"):
            out.append(r"(?:.*/)?" if part.endswith("/") else ".*")
        elif part == "*":
            out.append("[^/]*")
        elif part == "?":
            out.append("[^/]")
        elif part.startswith("["):
            out.append(fnmatch.translate(part)[4:-3])
        else:
            out.append(re.escape(part))
    return "".join(out)


def glob_root(glob: str) -> tuple[str, str]:
    """Where a glob's listing begins, and what the names below it must match.

    Returns:
        The folder before the first wildcard (`""` for the working folder, `/` for the root), and the rest of the
        glob: `/lake/dt=*/a.parquet` -> `("/lake", "dt=*/a.parquet")`, `part-*` -> `("", "part-*")`.
    """
    folder, slash, _ = WILDCARD.split(glob, maxsplit=1)[0].rpartition("/")
    at_root = folder in ("", "file://")
    return folder + (slash if at_root else ""), glob[len(folder) + len(slash) :]


def table_format(names: Iterable[str]) -> str | None:
    """The table format that the names of a folder's objects belong to.

    Args:
        names: Paths relative to the folder.

    Returns:
        `Delta` for a `_delta_log/`, `Iceberg` for `metadata/*.metadata.json`, at any depth; else None.
    """
    for name in names:
        *folders, file = name.split("/")
        if "_delta_log" in folders:
            return "Delta"
        if folders[-1:] == ["metadata"] and file.endswith(".metadata.json"):
            return "Iceberg"
    return None


def hive_tail(uri: str) -> str:
    """The last part of a URI with the `key=value` folders right before it."""
    parts = uri.split("/")
    start = len(parts) - 1
    while start > 0 and "=" in parts[start - 1]:
        start -= 1
    return "/".join(parts[start:])


def hidden(name: str) -> bool:
    """Whether a reader of hive layouts leaves it out: a part begins with `_` or `.`."""
    return any(part.startswith(("_", ".")) and "=" not in part for part in name.split("/"))


def partition_values(name: str) -> dict[str, str]:
    """The `key=value` folders of a path: `dt=2013-01-01/part-0.parquet` -> `{"dt": "2013-01-01"}`."""
    pairs = (part.partition("=") for part in name.split("/")[:-1] if "=" in part)
    return {key: unquote(value) for key, _, value in pairs}


def quote_part(value: str) -> str:
    """A value as it stands in a hive folder's name."""
    return quote(value, safe=" -_.,+@")

"""Makes the example's data: docstrings of the functions and classes of three packages that are installed.

The label is the package that a docstring comes from. Names of packages in the text would give it away, so
they are taken out.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

PACKAGES = ("numpy", "pandas", "sklearn")
TELLTALE = re.compile(r"\b(numpy|np|pandas|pd|sklearn|scikit-learn|scikit)\b", re.IGNORECASE)
SHARDS = 4


def modules(package: str) -> Iterator[object]:
    """Returns the public modules of a package that can be imported."""
    top = importlib.import_module(package)
    yield top
    for module in pkgutil.walk_packages(top.__path__, f"{package}."):
        if any(part.startswith("_") or part in ("tests", "conftest", "testing") for part in module.name.split(".")):
            continue
        try:
            yield importlib.import_module(module.name)
        except Exception:  # an optional dependency is missing
            continue


def docstrings(package: str) -> set[str]:
    """Returns the docstrings of the functions and classes of a package."""
    texts = set()
    for module in modules(package):
        for thing in vars(module).values():
            members = [thing, *vars(thing).values()] if inspect.isclass(thing) else [thing]
            for member in members:
                home = getattr(member, "__module__", None) or ""
                text = member.__doc__ if home.split(".")[0] == package and callable(member) else None
                if isinstance(text, str) and len(text) > 80:
                    texts.add(TELLTALE.sub(" ", inspect.cleandoc(text)))
    return texts


def main(folder: Path) -> None:
    """Writes the shards, each with rows of every package."""
    warnings.simplefilter("ignore")
    rows = [(text, package) for package in PACKAGES for text in sorted(docstrings(package))]
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(SHARDS):
        texts, packages = zip(*rows[shard::SHARDS], strict=True)
        pq.write_table(pa.table({"text": texts, "package": packages}), folder / f"part-{shard}.parquet")
    print(f"{len(rows):,} docstrings of {', '.join(PACKAGES)} below {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else ".demo/docstrings"))

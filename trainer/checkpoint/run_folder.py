"""Names of what a run leaves in storage; see "What a run leaves" in docs/."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from trainer import storage
from trainer.errors import DataError
from trainer.run_id import check_run_id

#: What the chief said of the run, a line each with its time before it.
LOG = "log.txt"
REPORT = "report.html"


@dataclass(frozen=True)
class RunFolder:
    """`<output.uri>/runs/<run id>/`.

    Attributes:
        output_uri: The job file's `output.uri`.
        run_id: The run's name below it.
    """

    output_uri: str
    run_id: str

    def __post_init__(self) -> None:
        check_run_id(self.run_id, "--run")

    @property
    def uri(self) -> str:
        """URI of the run's folder."""
        return storage.join(self.output_uri, "runs", self.run_id)

    def path(self, *parts: str) -> str:
        """Returns the URI of an object below the run's folder."""
        return storage.join(self.uri, *parts)

    def read_json(self, name: str) -> dict[str, Any] | None:
        """Reads a JSON document of the run; None where it has not been written.

        Raises:
            DataError: The file is damaged: it holds no JSON object.
            StorageError: The store is out of reach or refuses.
        """
        try:
            document = json.loads(storage.read(self.path(name)))
        except storage.NotFound:
            return None
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise DataError(
                "is damaged: it holds no JSON object",
                where=self.path(name),
                remedy="restore or delete the file; or begin a new run with another --run",
            )
        return document

    def write_json(self, name: str, document: dict[str, Any]) -> None:
        """Writes a JSON document of the run; a reader sees the old one or the new one, never a part.

        Raises:
            StorageError: The store is out of reach or refuses.
        """
        storage.write(self.path(name), to_json(document))


def to_json(document: Any) -> bytes:
    """Encodes JSON as this project writes it: indented, and strict (NaN and infinity become null)."""
    return (json.dumps(_finite(document), indent=2, sort_keys=False, allow_nan=False) + "\n").encode()


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value

"""Requests on a condition, which fsspec has no word for: each store says "if unchanged" in its own way."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from trainer.errors import ConfigError
from trainer.storage.calls import SLOWEST_BYTES_S, STALL_S

#: Scheme -> the kind of store, which is also the extra that brings its package.
STORES = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs", "az": "azure", "abfs": "azure", "abfss": "azure"}
#: Stands between the parts of a put to Google; production.json, the only content, cannot hold it.
_PART = "==kfit-part=="


def range_of_s3(fs: Any, uri: str, start: int, end: int, version: str) -> bytes:
    """One GET on condition of the ETag; fsspec's own reading takes no condition and no time limit."""
    from fsspec.asyn import sync

    async def get() -> bytes:
        bucket, key, _ = fs.split_path(uri)
        answer = await fs._call_s3(
            "get_object", Bucket=bucket, Key=key, Range=f"bytes={start}-{end - 1}", IfMatch=f'"{version}"'
        )
        async with answer["Body"] as body:
            return bytes(await body.read())

    return bytes(sync(fs.loop, get, timeout=STALL_S + (end - start) / SLOWEST_BYTES_S))


def put(fs: Any, uri: str, data: bytes, version: str) -> None:
    """Writes an object if it still is that version, in each store's own words; a refusal is the store's own error.

    Raises:
        ConfigError: A store that cannot compare.
    """
    store = STORES.get(uri.partition("://")[0])
    if store == "s3":
        fs.pipe_file(uri, data, IfMatch=f'"{version}"')
    elif store == "azure":
        from azure.core import MatchConditions

        fs.pipe_file(uri, data, etag=f'"{version}"', match_condition=MatchConditions.IfNotModified)
    elif store == "gcs":
        bucket, key, _ = fs.split_path(uri)
        where = f"{fs._location}/upload/storage/v1/b/{quote(bucket)}/o"
        head = f"Content-Type: application/json; charset=UTF-8\n\n{json.dumps({'name': key})}"
        body = f"--{_PART}\n{head}\n--{_PART}\nContent-Type: application/octet-stream\n\n".encode()
        kind = {"Content-Type": f'multipart/related; boundary="{_PART}"'}
        body += data + f"\n--{_PART}--".encode()
        fs.call("POST", where, uploadType="multipart", ifGenerationMatch=version, data=body, headers=kind)
    else:
        raise ConfigError(
            "this store is not known to replace an object on a condition",
            where=uri,
            remedy="promotion needs an output.uri in a folder, or on S3, Google or Azure",
        )

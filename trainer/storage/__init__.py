"""The only user of fsspec: object stores and local folders behind a handful of verbs.

Every verb takes URIs (`s3://bucket/key`, `gs://…`, `az://…`, `file:///path`, or a plain path) and raises
nothing but `StorageError` and its two kinds below. Writes are whole: a reader sees the old object, the
new one, or none, never half of one.
"""

from __future__ import annotations

from trainer.storage.calls import AlreadyExists, Changed, NotFound
from trainer.storage.filesystems import on_io_thread
from trainer.storage.folders import delete, delete_folder, download_folder, sweep, upload_folder
from trainer.storage.listing import StoredObject, exists, expand, list_folders, list_objects, modified_s, stat
from trainer.storage.objects import read, read_many, read_version, read_with_version, replace, write, write_file
from trainer.uris import join, local_path, partition_values, quote_part

__all__ = [
    "AlreadyExists",
    "Changed",
    "NotFound",
    "StoredObject",
    "delete",
    "delete_folder",
    "download_folder",
    "exists",
    "expand",
    "join",
    "list_folders",
    "list_objects",
    "local_path",
    "modified_s",
    "on_io_thread",
    "partition_values",
    "quote_part",
    "read",
    "read_many",
    "read_version",
    "read_with_version",
    "replace",
    "stat",
    "sweep",
    "upload_folder",
    "write",
    "write_file",
]

"""Durable state of a run in object storage: parts, manifests, fencing, the run folder.

It must not know TensorFlow, the feed or the report: state is bytes and arrays here. Open `store` first.
"""

"""Rows from Parquet shards to batches of a `tf.data.Dataset`.

Floors, from the top: `pipeline` (tf.data), `statistics` (the pass, its checks, its cache), `order` (plan, shuffle, a
worker's share), `packing` (decode, convert, pack), `shards` (discovery, footers, types, split, filter), `threads`.
It must not know the model. Open `pipeline.dataset` first.
"""

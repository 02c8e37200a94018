"""Parquet to batches: shards, plan, order, reader, statistics, dataset."""

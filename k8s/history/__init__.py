"""Runs as storage keeps them; no cluster.

Open `run_records` first.
"""

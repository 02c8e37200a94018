"""The records of runs in storage; needs no cluster.

Open `run_records` first.
"""

"""Runs by the clock and their results: `schedule`, `trigger`, `history`, `compare`.

`schedule` and `trigger` work on the CronJobs of a cluster; `history` and `compare` read storage alone and need no
cluster. Start with `schedule`.
"""

"""What changes a cluster: apply, continue a run, schedules, backfill, and the look-up of names.

Every write goes through `k8s.api`. Open `apply` first.
"""

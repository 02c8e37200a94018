"""What this machine and the cluster can do: `doctor`, `version`, `completion`.

They change nothing. Start with `doctor`.
"""

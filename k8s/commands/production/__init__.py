"""Changing by hand which run serves: `promote`, `rollback`, and `prune`, which deletes old runs.

They read and write storage alone and know no cluster. Start with `promote`.
"""

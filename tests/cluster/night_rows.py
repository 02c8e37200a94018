"""The table of nights that the cluster suite prints; apart, since pytest imports a conftest under its own name."""

#: One row a night: what the schedule did and what became of production.
NIGHTS: list[tuple[str, ...]] = []

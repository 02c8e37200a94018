"""Sixty nights of a year of flights: what the gate lets through and what it refuses. See `__main__`."""

"""How fast the feed is beside Arrow's own limit and beside the feeds of others."""

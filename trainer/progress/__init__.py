"""How a run tells where it is: events, views for terminals and logs, ETA, formatting.

It must not know what a run does; launcher and trainer both use it. Open `progress` first.
"""

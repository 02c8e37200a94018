"""The job file as the chart's values, and the chart rendered by helm.

It must not speak to a cluster. Open `render` first.
"""

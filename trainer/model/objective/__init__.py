"""What is minimised, by what and in which units: loss, metrics, optimizer, learning rate, label scale.

Knows neither features nor layers. Begin with `losses`.
"""

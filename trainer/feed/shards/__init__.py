"""Which files belong to the dataset and which of their rows: discovery, footers, column types, split, filter.

It reads footers and never a column. Open `discovery` first.
"""

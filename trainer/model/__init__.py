"""What is fitted: preprocessing layers, built-in models, entrypoints, optimizer, strategy.

It must not know the feed, storage or a run. Open `trainable` first.
"""

"""Following a run until its end: watcher, log stream, narrator, progress bar.

It must not write to a cluster. Open `loop` first.
"""

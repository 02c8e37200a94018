"""Which row comes when: the plan of read units, the shuffle, a worker's share, the memory it takes.

Pure functions of (plan, seed, epoch); no I/O. Open `shuffle` first.
"""

"""The verbs of `kfit`, a module each: words in, one action, output.

No verb speaks to an API server itself; it calls `actions`, `follow` and `output`.
"""

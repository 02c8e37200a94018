"""The verbs of `kfit`, a module each, in rooms named by the groups of `kfit --help`.

A verb reads the command line, calls one action and prints its result. It never speaks to an API server itself; it
calls `actions`, `follow` and `output`. `options` holds what several verbs share. Start with `run.submit`.
"""

"""The verbs of `kfit`, a module each."""

"""One run from its configuration to a published model.

The floor above all others but the command line. Open `fit` first.
"""

"""The tests. A package, so that no installed package of this name is found in its place."""

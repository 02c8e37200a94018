"""Compares the default model with models of scikit-learn on the same columns and rows."""

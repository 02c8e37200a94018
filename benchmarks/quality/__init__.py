"""How good our model is beside scikit-learn's on the same columns and rows."""

"""Code of one's own for a job: a loss, a callback and a model, written as for plain Keras."""

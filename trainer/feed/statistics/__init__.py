"""One pass over the training split: moments, quantiles, vocabularies, label frequencies.

It must not know batches or TensorFlow. Open `prepare` first.
"""

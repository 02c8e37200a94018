"""Packed rows as a `tf.data.Dataset`: reading ahead, chunks, batches, the library's entry.

The only floor of the feed that imports TensorFlow. Open `dataset` first.
"""

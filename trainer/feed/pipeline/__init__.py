"""Packed rows as a `tf.data.Dataset`: prefetching, chunks, batches, and `trainer.dataset`.

The only floor of the feed that imports TensorFlow. Open `dataset` first.
"""

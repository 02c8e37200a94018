"""How the tests of the stream open a feed and read its batches."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from trainer.feed.pipeline.dataset import Feed

#: Packed rows of these sets are 4 * (5 numbers + id + 2 codes + 3) bytes wide.
ROW_BYTES = 44


#: Features are packed by name: gaps, id, number, vector; digit, word.
ID = 1


WITH_ID = {
    "id": {"kind": "numeric"},
    "number": {"kind": "numeric"},
    "gaps": {"kind": "numeric", "impute": "mean"},
    "word": {"kind": "categorical"},
    "digit": {"kind": "categorical"},
    "vector": {"kind": "vector", "size": 3},
}


def opened(prepared, split="train", *, batch_size=16, shuffle=True, **more):
    return Feed(prepared, split, batch_size=batch_size, seed=0, shuffle=shuffle, **more)


def batches(feed):
    return [tf.nest.map_structure(np.array, batch) for batch in feed.dataset()]


def ids(of_batches):
    """Ids of the real rows, batch by batch."""
    return [x["numbers"][: round(float(w[0, 1]) * len(w)), ID].astype(int).tolist() for x, _, w in of_batches]


def flat(lists):
    return [value for values in lists for value in values]

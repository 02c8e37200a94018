"""Text with a Sequential model and TextVectorization; `python text.py FOLDER` trains it."""

import json
import re
import sys
from collections import Counter
from pathlib import Path

import keras
import pandas as pd

LENGTH = 12


def build(words=42):
    keras.utils.set_random_seed(7)
    model = keras.Sequential(
        [
            keras.layers.Embedding(words, 8),
            keras.layers.Conv1D(16, 3, activation="relu"),
            keras.layers.GlobalMaxPooling1D(),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy"])
    return model


def vocabulary(texts):
    """The frequent words first, and of equally frequent ones in the order of the alphabet."""
    counts = Counter(word for text in texts for word in re.sub(r"[^\w\s]", "", text.lower()).split())
    return sorted(counts, key=lambda word: (-counts[word], word))


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    train, held = (pd.read_parquet(folder / f"{name}.parquet") for name in ("train", "held"))
    vectorize = keras.layers.TextVectorization(output_sequence_length=LENGTH, vocabulary=vocabulary(train["text"]))
    model = build()
    fitted = model.fit(
        vectorize(train["text"].to_list()), train["label"], batch_size=32, epochs=3, shuffle=False, verbose=0
    )
    metrics = model.evaluate(
        vectorize(held["text"].to_list()), held["label"], batch_size=32, return_dict=True, verbose=0
    )
    print(json.dumps({"train": {k: v[-1] for k, v in fitted.history.items()}, "validation": metrics}))

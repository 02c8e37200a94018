"""The untouched default trains alike on any number of replicas."""

from __future__ import annotations

import numpy as np
import pytest

from tests.model.packed_sets import FEATURES, batches, every_kind, labels, make_config
from trainer.model.build import build
from trainer.model.features import Features
from trainer.model.strategy import make_strategy, seed_everything
from trainer.model.trainable import compile_model

EPOCHS, BATCH = 3, 48


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_the_default_model_trains_alike_on_1_2_and_4_replicas(task):
    """Periodic embeddings, AdamW and its cosine, with a batch that is filled up: sums differ in their order alone."""
    names = [name for name, feature in FEATURES.items() if feature["kind"] in ("numeric", "categorical")][:10]
    config = make_config(task, {name: FEATURES[name] for name in names}, model={"builtin": "mlp"})
    rows = 5 * BATCH + 7
    made = every_kind(rows, task=task, names=names)
    ends, answers = [], []
    for replicas in (1, 2, 4):
        strategy = make_strategy(f"cpu:{replicas}")
        seed_everything(config, strategy)
        with strategy.scope():
            features = Features(made.layout, config, made.statistics)
            model = compile_model(build(features, config), config, steps_total=EPOCHS * -(-rows // BATCH))
        data = batches(made.x, labels(rows, task), BATCH)
        history = model.fit(data, epochs=EPOCHS, verbose=0, shuffle=False).history
        ends.append({name: values for name, values in history.items() if name != "learning_rate"})
        answers.append(np.asarray(model(made.x, training=False)))
    assert any("number_frequencies" in variable.path for variable in model.variables)
    for end, answer in zip(ends[1:], answers[1:], strict=True):
        for name, values in ends[0].items():
            np.testing.assert_allclose(end[name], values, rtol=1e-3, atol=1e-4, err_msg=name)
        np.testing.assert_allclose(answer, answers[0], atol=2e-3)

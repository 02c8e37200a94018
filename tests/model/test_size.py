"""A model that cannot fit in memory is refused before anything of it is allocated, with its size."""

import pytest

from tests.model.packed_sets import FEATURES, FEW, every_kind, make_config
from trainer.errors import ConfigError
from trainer.model.build import build
from trainer.model.features import Features
from trainer.model.size import check_size

EMBEDDED = {"s_emb": {"kind": "categorical", "encode": "embedding", "size": 10**12}}


@pytest.mark.parametrize(
    ("feature", "fit", "hidden", "said", "where"),
    [
        (EMBEDDED, {}, [4], r"the embedding of 's_emb' \(\d+ × 1,000,000,000,000\) takes [\d,.]+ GiB of", "s_emb"),
        ({}, {"batch_size": 10**12}, [4], r"a batch of 1,000,000,000,000 rows of \d+ encoded inputs", "batch_size"),
        ({}, {}, [10**11], r"a layer of 100,000,000,000 units on \d+ inputs", "model.hidden"),
        (
            {},
            {},
            [4, 10**6, 10**6],
            r"a layer of 1,000,000 units on 1,000,000 inputs takes 3,725.3 GiB",
            "model.hidden",
        ),
    ],
    ids=["embedding", "batch", "first layer", "second layer"],
)
def test_a_model_larger_than_memory_is_refused_with_its_size(feature, fit, hidden, said, where):
    features = {n: FEATURES[n] for n in FEW} | feature
    config = make_config(features=features, model={"builtin": "mlp", "hidden": hidden}, fit=fit)
    made = every_kind(40, names=FEW)
    with pytest.raises(ConfigError, match=said) as caught:
        build(Features(made.layout, config, made.statistics), config)
    assert caught.value.where.endswith(where)
    assert caught.value.remedy


def test_the_limit_is_the_largest_tensor_that_fits():
    config = make_config(features={n: FEATURES[n] for n in FEW}, model={"builtin": "linear"}, fit={"batch_size": 100})
    made = every_kind(40, names=FEW)
    features = Features(made.layout, config, made.statistics)
    batch_bytes = 100 * features.width * 4
    check_size(features, config, batch_bytes)
    with pytest.raises(ConfigError, match="a batch of 100 rows"):
        check_size(features, config, batch_bytes - 1)

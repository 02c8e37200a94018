"""What `encode` makes of packed rows, value by value."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from tests.model.packed_sets import FEATURES, every_kind, make_config
from trainer.config import Config
from trainer.model.features import Features


def encoded(name: str, **feature) -> tuple[np.ndarray, np.ndarray]:
    """Encoded and raw values of one column."""
    made = every_kind(200, names=[name])
    config = make_config(features={name: {**FEATURES[name], **feature}})
    features = Features(made.layout, config, made.statistics)
    inputs = features.inputs()
    values = keras.Model(inputs, features.encode(inputs))(made.x).numpy()
    assert values.shape == (200, features.width)
    return values, made.raw[name]


def test_standard_scale_with_mean_and_indicator():
    values, raw = encoded("f32")
    null = np.isnan(raw)
    want = np.where(null, 0, (raw - np.nanmean(raw)) / np.nanstd(raw))
    np.testing.assert_allclose(values, np.stack([want, null], axis=1), atol=1e-5)


def test_min_max_scale_with_median():
    values, raw = encoded("f64")
    filled = np.where(np.isnan(raw), np.nanmedian(raw), raw)
    want = (filled - np.nanmin(raw)) / (np.nanmax(raw) - np.nanmin(raw))
    np.testing.assert_allclose(values[:, 0], want, atol=1e-6)


def test_robust_scale():
    values, raw = encoded("i64")
    low, middle, high = np.quantile(raw, [0.25, 0.5, 0.75])
    np.testing.assert_allclose(values[:, 0], (raw - middle) / (high - low), rtol=1e-5)


def test_robust_clip_keeps_outliers_within_three():
    values, raw = encoded("i64", scale="robust_clip")
    low, middle, high = np.quantile(raw, [0.25, 0.5, 0.75])
    plain = (raw - middle) / (high - low)
    np.testing.assert_allclose(values[:, 0], plain / np.sqrt(1 + (plain / 3) ** 2), rtol=1e-5)
    assert np.abs(values).max() < 3


def test_timestamps_keep_their_digits():
    values, raw = encoded("stamp")
    exact = raw - 1_700_000_000_000_000
    np.testing.assert_allclose(values[:, 0], (exact - exact.mean()) / exact.std(), atol=1e-5)


def test_a_constant_column_is_zero_and_a_tiny_one_is_scaled():
    assert not encoded("constant")[0].any()
    values, _ = encoded("tiny")
    assert (values.mean(), values.std()) == pytest.approx((0, 1), abs=1e-5)


def test_without_impute_a_null_stays_nan():
    values, raw = encoded("f32", impute=None, indicator=False)
    assert np.array_equal(np.isnan(values[:, 0]), np.isnan(raw))


def test_vectors_are_scaled_by_element_and_filled_whole():
    values, raw = encoded("vec")
    np.testing.assert_allclose(values, (raw - raw.mean(axis=0)) / raw.std(axis=0), atol=1e-3)
    values, raw = encoded("vec_null")
    null = np.isnan(raw[:, :1])
    np.testing.assert_array_equal(values, np.concatenate([np.where(null, 0.5, raw), null], axis=1))


def test_one_hot_has_places_for_missing_and_unseen():
    values, raw = encoded("s_hot")
    order = ["", "?", "ü c", "b", "a"]
    np.testing.assert_array_equal(values, np.eye(5)[[order.index(value) for value in raw]])


def test_an_indicator_sees_the_nulls_that_a_constant_fills():
    values, raw = encoded("s_both")
    order = ["", "?", "ü c", "b", "a"]
    want = np.eye(5)[[order.index(value or "a") for value in raw]]
    np.testing.assert_array_equal(values, np.concatenate([want, (raw == "")[:, None]], axis=1))


def test_an_embedding_is_as_wide_as_said_or_as_the_rule():
    assert encoded("s_emb")[0].shape == (200, 4)
    assert encoded("i_null")[0].shape == (200, 4)  # ceil(1.6 * 5 ** 0.56)


def test_five_hundred_numbers_take_as_few_operations_as_one():
    def operations(names: list[str], config: Config, made) -> int:
        features = Features(made.layout, config, made.statistics)
        inputs = features.inputs()
        return len(keras.Model(inputs, features.encode(inputs)).operations)

    names = ["f32", "f64", "i64", "i64_null"]
    few = operations(["f32"], make_config(features={"f32": FEATURES["f32"]}), every_kind(20, names=["f32"]))
    many = operations(names, make_config(features={n: FEATURES[n] for n in names}), every_kind(20, names=names))
    assert many == few


def test_a_constant_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="'x' is not a number"):
        encoded("f32", impute={"constant": "x"})

"""Four logical CPU devices for the whole session: TensorFlow fixes its devices at first use."""

from __future__ import annotations

import contextlib

import pytest
import tensorflow as tf

with contextlib.suppress(RuntimeError):
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 4
    )


def pytest_configure(config):
    # Keras reads a variable by np.array(), which TensorFlow's variables answer in NumPy 1's way.
    config.addinivalue_line("filterwarnings", "ignore:__array__ implementation doesn't accept:DeprecationWarning")


@pytest.fixture(autouse=True)
def _fresh_keras():
    import keras

    keras.utils.clear_session(free_memory=False)
    keras.config.set_dtype_policy("float32")
    yield
    keras.config.set_dtype_policy("float32")

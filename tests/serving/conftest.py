"""Models of these tests are saved in the test's own process."""

from __future__ import annotations


def pytest_configure(config):
    # Keras reads a variable by np.array(), which TensorFlow's variables answer in NumPy 1's way.
    config.addinivalue_line("filterwarnings", "ignore:__array__ implementation doesn't accept:DeprecationWarning")

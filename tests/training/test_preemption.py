"""Requests to stop that come when they are least welcome."""

import os
import signal

import pytest

from trainer.errors import Preempted
from trainer.training.preemption import StopRequest

keras = pytest.importorskip("keras")


def interrupted(work: object) -> BaseException:
    """What a run whose work ended by a signal would end with."""
    with StopRequest() as stop:
        try:
            work()  # type: ignore[operator]
        except BaseException as error:
            return stop.meaning(error)
    raise AssertionError("the work went on")


class Struck(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """Is hit by SIGTERM while Keras looks at its call."""

    def call(self, x: object) -> object:
        os.kill(os.getpid(), signal.SIGTERM)
        return x


def test_a_stop_while_keras_builds_a_model_is_a_stop_and_not_a_fault_of_the_model() -> None:
    error = interrupted(lambda: Struck()(keras.Input((3,))))
    assert isinstance(error, Preempted)
    assert error.what == "stopped by SIGTERM before the first step; nothing is lost"


def test_a_stop_that_a_library_turns_into_an_error_of_its_own_is_still_a_stop() -> None:
    def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except BaseException as error:
            raise ValueError("something broke") from error

    assert isinstance(interrupted(work), Preempted)


def test_a_second_signal_leaves_at_once() -> None:
    def work() -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                os.kill(os.getpid(), number)
            except BaseException as error:
                last = error
        raise last

    assert isinstance(interrupted(work), KeyboardInterrupt)

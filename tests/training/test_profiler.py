"""The profiler runs for the steps that the job file names, counted since the run began."""

from __future__ import annotations

import pytest
import tensorflow as tf
from pydantic import ValidationError

from trainer.config import Profile
from trainer.training.callbacks import ProfileCallback
from trainer.training.training_state import Cursor, TrainingState


@pytest.mark.parametrize(("begins_at", "expected"), [(0, [3, 4, 5]), (3, [4, 5]), (7, [])])
def test_it_runs_from_the_first_step_to_the_last(monkeypatch, begins_at, expected):
    running, profiled = [], []
    monkeypatch.setattr(tf.profiler.experimental, "start", lambda folder: running.append(folder))
    monkeypatch.setattr(tf.profiler.experimental, "stop", lambda: running.clear())
    state = TrainingState(cursor=Cursor(total=begins_at))
    callback = ProfileCallback(Profile(steps=(3, 5)), "there", state)
    for step in range(begins_at, 9):
        callback.on_train_batch_begin(step)
        profiled += [step + 1] if running else []
        state.cursor.total += 1
        callback.on_train_batch_end(step)
    callback.on_train_end()
    assert profiled == expected
    assert running == []


def test_it_leaves_a_profile_even_where_the_run_ends_before_the_last_step(tmp_path):
    callback = ProfileCallback(Profile(steps=(1, 99)), str(tmp_path), TrainingState())
    callback.on_train_batch_begin(0)
    tf.reduce_sum(tf.random.normal((8, 8))).numpy()
    callback.on_train_end()
    assert [path.suffix for path in tmp_path.rglob("*.pb")] == [".pb"]


@pytest.mark.parametrize("steps", [(0, 3), (5, 4), (1,)])
def test_steps_that_are_no_span_are_refused(steps):
    with pytest.raises(ValidationError):
        Profile(steps=steps)

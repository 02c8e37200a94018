"""How far a run is, from the trainer's own lines."""

from __future__ import annotations

import io
import re
from pathlib import Path

from rich.console import Console

from k8s.status import training_progress
from k8s.status.training_progress import fold, repeats_an_event
from trainer.progress.progress import make_progress


def words_of_a_run():
    """What the trainer prints where no terminal is, and its events, of a run with everything in it."""
    plain, events, now = io.StringIO(), io.StringIO(), iter(range(0, 10**6, 10))
    console = Console(file=plain, width=300)
    shown = make_progress(console, clock=lambda: float(next(now)), environ={"KFIT_EVENTS": "1"}, events=events)
    shown.phase("statistics", 10, 327_346)
    shown.note("warning: columns not used: month")
    shown.phase("compile")
    shown.start(epochs=3, steps=288, rows_per_step=1024)
    for step in range(1, 289):
        shown.step(0, step, lambda: {"loss": 0.5})
    shown.epoch_end(0, {"loss": 0.4, "val_loss": 0.6}, best=True)
    shown.checkpoint(288)
    shown.step(1, 10, lambda: {"loss": 0.3})
    shown.phase("export")
    shown.stop()
    return plain.getvalue().splitlines(), events.getvalue().splitlines()


def test_everything_the_bar_draws_is_left_out_of_the_lines_above_it_and_nothing_else():
    plain, _ = words_of_a_run()
    assert [line for line in plain if not repeats_an_event(line)] == ["warning: columns not used: month"]


def test_a_users_own_words_are_never_left_out():
    for line in ("epoch of dinosaurs", "fit for duty", "exporting goods", "epoch 1", "compile error: x", "step 3/4"):
        assert not repeats_an_event(line)


def test_the_phases_are_those_of_the_trainer():
    sources = "".join(p.read_text() for p in (Path(__file__).parents[3] / "trainer").rglob("*.py"))
    named = set(re.findall(r'progress\.phase\(\s*"([^"]+)"', sources))
    assert named
    assert named <= set(training_progress.PHASES)


def test_events_fold_to_where_the_run_is():
    _, events = words_of_a_run()
    at = fold([("2026-01-01T00:00:01Z", line) for line in events])
    assert (at.epoch, at.epochs, at.step, at.steps) == (2, 3, 10, 288)
    assert at.logs == {"loss": 0.3, "val_loss": 0.6}
    assert at.phase in ("export", "")
    assert (at.checkpoint_step, at.checkpoint_at) == (288, "2026-01-01T00:00:01Z")
    assert at.at == "2026-01-01T00:00:01Z"


def test_lines_that_only_look_like_events_are_lines():
    assert fold([("", '{"kfit": broken'), ("", "{}"), ("", "text")]) == fold([])


def test_a_checkpoint_has_its_time():
    at = fold(
        [("2026-01-01T00:00:01Z", '{"kfit": "checkpoint", "step": 12}'), ("2026-01-01T00:00:09Z", '{"kfit": "stop"}')]
    )
    assert (at.checkpoint_step, at.checkpoint_at) == (12, "2026-01-01T00:00:01Z")

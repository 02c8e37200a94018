"""Progress: what each view shows, how often it asks for values, and when the run will be done."""

import io
import json

import pytest
from rich.console import Console

from trainer.progress.eta import Pace
from trainer.progress.progress import make_progress, metrics_table


class Clock:
    def __init__(self):
        self.now_s = 100.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


def run_fit(progress, clock, *, epochs=2, steps=40, step_s=0.25, validation_s=3.0, asked=None):
    def logs():
        if asked is not None:
            asked.append(clock.now_s)
        return {"loss": 0.5, "auc": 0.75}

    progress.start(epochs=epochs, steps=steps, rows_per_step=100)
    for epoch in range(epochs):
        for step in range(1, steps + 1):
            clock.now_s += step_s
            progress.step(epoch, step, logs)
        clock.now_s += validation_s
        progress.epoch_end(epoch, {"loss": 0.5, "val_loss": 0.625}, best=epoch == 0)


def plain(clock, **settings):
    out = io.StringIO()
    console = Console(file=out, force_terminal=False, width=40)
    return make_progress(console, clock=clock, environ={}, **settings), out


def test_a_log_gets_a_plain_line_every_few_seconds_and_one_an_epoch(clock):
    progress, out = plain(clock)
    run_fit(progress, clock)
    progress.stop()
    assert out.getvalue().splitlines() == [
        "fit  2 epochs of 40 steps of 100 rows",
        "epoch 1/2  step 1/40  – rows/s  ETA –  loss 0.5000  auc 0.7500",
        "epoch 1/2  step 21/40  400 rows/s  ETA 15 s  loss 0.5000  auc 0.7500",
        "epoch 1/2  done in 13 s  loss 0.5000  val_loss 0.6250  best",
        "epoch 2/2  step 1/40  400 rows/s  ETA 13 s  loss 0.5000  auc 0.7500",
        "epoch 2/2  step 21/40  400 rows/s  ETA 7.8 s  loss 0.5000  auc 0.7500",
        "epoch 2/2  done in 13 s  loss 0.5000  val_loss 0.6250",
    ]


def test_values_are_asked_for_only_when_a_line_is_drawn(clock):
    asked = []
    progress, _ = plain(clock)
    run_fit(progress, clock, epochs=1, steps=2000, step_s=0.01, asked=asked)
    assert len(asked) == 4  # 20 s of steps, one line every 5 s


def test_a_phase_is_said_once_and_again_every_few_seconds(clock):
    progress, out = plain(clock)
    for done in range(1, 13):
        clock.now_s += 1.0
        progress.phase("statistics", done, 12)
    progress.phase("compile")
    clock.now_s += 2.5
    progress.start(epochs=1, steps=10, rows_per_step=8, first_step=4)
    assert out.getvalue().splitlines() == [
        "statistics  1/12",
        "statistics  6/12",
        "statistics  11/12",
        "statistics  done in 11 s",
        "compile",
        "compile  done in 2.5 s",
        "fit  1 epochs of 10 steps of 8 rows, from epoch 1 step 5",
    ]


def test_names_and_notes_are_shown_as_they_are(clock):
    progress, out = plain(clock)
    progress.note("[bold red]column[/] [link=x]y\x1b[2J")
    progress.start(epochs=1, steps=1, rows_per_step=1)
    progress.epoch_end(0, {"[red]": 1.0}, best=False)
    assert "[bold red]column[/] [link=x]y" in out.getvalue()
    assert "\x1b" not in out.getvalue()
    assert "[red] 1.0000" in out.getvalue()


def test_a_terminal_keeps_a_line_for_every_epoch_and_drops_the_bar(clock):
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100, color_system=None, _environ={"TERM": "xterm"})
    progress = make_progress(console, clock=clock, environ={})
    progress.phase("statistics")
    clock.now_s += 1.5
    run_fit(progress, clock)
    progress.stop()
    progress.stop()
    shown = out.getvalue()
    assert "statistics  1.5 s" in shown
    assert "epoch 1/2    13 s  loss 0.5000  val_loss 0.6250  best" in shown
    assert shown.rstrip().endswith("\x1b[2K") or "\x1b[?25h" in shown  # the cursor is given back


def test_no_color_is_honoured(clock, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    out = io.StringIO()
    progress = make_progress(Console(file=out, force_terminal=True, width=100), clock=clock, environ={})
    run_fit(progress, clock, epochs=1)
    progress.stop()
    assert "\x1b[3" not in out.getvalue().replace("\x1b[3A", "")


def test_a_narrow_terminal_drops_training_metrics_but_the_loss(clock):
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=60, color_system=None, _environ={"TERM": "xterm"})
    progress = make_progress(console, clock=clock, environ={})
    progress.start(epochs=1, steps=1, rows_per_step=1)
    clock.now_s += 1
    progress.epoch_end(0, {"loss": 1.0, "auc": 0.5, "accuracy": 0.5, "val_loss": 2.0, "val_auc": 0.25}, best=False)
    progress.stop()
    assert "epoch 1/1   1.0 s  loss 1.0000  val_loss 2.0000  val_auc 0.2500\n" in out.getvalue()


def test_the_launcher_gets_one_json_object_a_line(clock):
    events, out = io.StringIO(), io.StringIO()
    console = Console(file=out, force_terminal=False)
    progress = make_progress(console, clock=clock, environ={"KFIT_EVENTS": "1"}, events=events)
    progress.note("hello")
    progress.start(epochs=2, steps=2, rows_per_step=10, first_epoch=1)
    clock.now_s += 1
    progress.step(1, 1, lambda: {"loss": float("nan")})
    clock.now_s += 6
    progress.step(1, 2, lambda: {"loss": 0.25})
    progress.checkpoint(4)
    progress.epoch_end(1, {"loss": 0.25}, best=True)
    progress.stop()
    place = {"epoch": 2, "epochs": 2, "steps": 2}
    assert [json.loads(line) for line in events.getvalue().splitlines()] == [
        {"kfit": "note", "text": "hello"},
        {"kfit": "start", **place, "step": 0, "rows_per_step": 10},
        {"kfit": "step", **place, "step": 1, "rows_per_s": None, "eta_s": None, "logs": {"loss": None}},
        {"kfit": "step", **place, "step": 2, "rows_per_s": 1.66667, "eta_s": 0.0, "logs": {"loss": 0.25}},
        {"kfit": "checkpoint", "step": 4},
        {"kfit": "epoch", **place, "step": 2, "took_s": 7.0, "eta_s": 0.0, "best": True, "logs": {"loss": 0.25}},
        {"kfit": "stop"},
    ]


def test_time_to_go_counts_the_validation_of_every_epoch_left():
    pace = Pace(epochs=3, steps=10)
    now_s = 0.0
    for step in range(1, 11):
        now_s += 1.0
        pace.step(now_s, step)
    now_s += 5.0
    pace.epoch_end(now_s, 0)
    now_s += 1.0
    pace.step(now_s, 11)
    assert pace.steps_per_s == pytest.approx(1.0)
    assert pace.eta_s == pytest.approx(19 + 2 * 5)


def test_an_epoch_of_one_step_still_has_a_speed():
    pace = Pace(epochs=5, steps=1)
    for epoch in range(2):
        pace.step(2.0 * epoch, epoch + 1)
        pace.epoch_end(2.0 * epoch + 0.5, epoch)
    assert pace.steps_per_s == pytest.approx(0.5)
    assert pace.eta_s == pytest.approx(6.0)


def test_a_resumed_run_counts_only_what_is_left():
    pace = Pace(epochs=4, steps=10, first_epoch=2, first_step=5)
    pace.step(0.0, 26)
    pace.step(2.0, 28)
    assert pace.eta_s == pytest.approx(12.0)


def test_final_metrics_stand_side_by_side():
    metrics = {"train": {"loss": 0.25, "[b]auc": 0.75}, "validation": {"loss": 0.5, "rmse": None}}
    out = io.StringIO()
    Console(file=out, width=60).print(metrics_table({"metrics": metrics}))
    assert [line.rstrip() for line in out.getvalue().splitlines()] == [
        "metric   train  validation",
        "loss    0.2500      0.5000",
        "[b]auc  0.7500           –",
        "rmse         –           –",
    ]


def test_without_validation_the_table_has_one_column():
    table = metrics_table({"metrics": {"train": {"loss": 0.25}}})
    assert [column.header for column in table.columns] == ["metric", "train"]

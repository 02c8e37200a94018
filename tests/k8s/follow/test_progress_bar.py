"""The bar over a pod's events, on a terminal."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from k8s.follow import views
from k8s.follow.loop import LogOptions
from k8s.follow.progress_bar import ProgressBar

START = '{"kfit": "start", "epoch": 1, "epochs": 2, "step": 0, "steps": 10, "rows_per_step": 8}'
STEP = '{"kfit": "step", "epoch": 1, "epochs": 2, "step": 5, "steps": 10, "rows_per_s": 80, "eta_s": 9, "logs": {"loss": 0.5}}'  # noqa: E501 - one line of a log
EPOCH = '{"kfit": "epoch", "epoch": 1, "epochs": 2, "step": 10, "steps": 10, "took_s": 3, "eta_s": 5, "best": true, "logs": {"loss": 0.4, "val_loss": 0.3}}'  # noqa: E501 - one line of a log


def drawn(*told):
    """What stands on the terminal in the end: kept lines, without what moves the cursor."""
    out = io.StringIO()
    view = ProgressBar(Console(file=out, force_terminal=True, width=100, color_system=None, legacy_windows=False))
    for step in told:
        step(view)
    view.close()
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())
    return [line.strip() for line in re.split(r"[\r\n]+", text) if line.strip()]


def line(text, index=0):
    return lambda view: view.line(index, text)


def test_events_are_drawn_and_their_words_left_out():
    seen = drawn(
        lambda view: view.opened("a", 0),
        line(START), line(STEP), line("epoch 1/2  step 5/10  80 rows/s  ETA 9 s  loss 0.5000"),
        line("a user's own words"), line(EPOCH), line("epoch 1/2  done in 3.0 s  loss 0.4000  best"),
    )  # fmt: skip
    assert "running: pod a" in seen
    assert "a user's own words" in seen
    assert [text for text in seen if text.startswith("epoch 1/2") and text.endswith("best")] == [
        "epoch 1/2   3.0 s  loss 0.4000  val_loss 0.3000  best"
    ]
    assert not any("done in" in text or "step 5/10" in text for text in seen)


def test_lines_of_several_pods_say_whose_and_only_the_chief_draws():
    seen = drawn(
        lambda view: view.opened("a", 0), lambda view: view.opened("b", 1),
        line("hello", 1), line(START, 1), line(EPOCH, 1),
    )  # fmt: skip
    assert "[1] hello" in seen
    assert not any(text.startswith("epoch") for text in seen)


def test_a_replacement_begins_with_a_bar_of_its_own():
    seen = drawn(
        lambda view: view.opened("a", 0), line(START), line(STEP),
        lambda view: view.say("pod a ended: evicted", waits=True),
        lambda view: view.opened("b", 0),
    )  # fmt: skip
    after = seen[seen.index("running: pod b") :]
    assert not any("5/10" in text for text in after)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("options", "view"),
    [
        (LogOptions(), ProgressBar),
        (LogOptions(tail=5), views.Plain),
        (LogOptions(since="2026-01-01T00:00:00Z"), views.Plain),
    ],
    ids=["whole", "tail", "since"],
)
def test_a_log_that_begins_in_its_middle_is_lines_on_a_terminal_too(monkeypatch, options, view):
    monkeypatch.setattr("sys.stdout", Terminal())
    monkeypatch.setattr("sys.stderr", Terminal())
    chosen = views.choose(True, options)
    chosen.close()
    assert type(chosen) is view

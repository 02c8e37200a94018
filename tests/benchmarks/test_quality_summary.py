"""The quality benchmark's table says what its scores are."""

import io

import numpy as np
import pytest
from rich.console import Console

from benchmarks.quality.summary import half_width, ranks_of, reaches_linear, summarize


def runs(linear: list[float], boosting: list[float], ours: list[float]) -> list[dict[str, dict[str, float]]]:
    return [
        {
            side: {"score": score, "interval": 0.0, "seconds": 1.0}
            for side, score in zip(("linear", "boosting", "kfit"), scores, strict=True)
        }
        for scores in zip(linear, boosting, ours, strict=True)
    ]


def test_a_set_below_the_linear_model_is_named_and_the_claim_does_not_hold():
    results = {"good": runs([0.7, 0.7], [0.7, 0.7], [0.8, 0.8]), "bad": runs([0.7, 0.7], [0.6, 0.6], [0.69, 0.69])}
    table, words, fine = summarize(results, {"good": "binary", "bad": "binary"})
    assert not fine
    assert words[1] == "at least the linear model on every set: NO: bad"
    assert words[2] == "at least boosting in mean score and mean rank: yes"
    console = Console(width=150, record=True, file=io.StringIO())
    console.print(table)
    assert "+0.0950 ± 0.0000" in console.export_text()  # over the sets: (0.1 + 0.09) / 2 above boosting


def test_an_interval_is_students_over_the_seeds():
    # t(0.975, 2) = 4.303; deviation of 1, 2, 3 is 1
    assert half_width(np.array([1.0, 2.0, 3.0])) == pytest.approx(4.303 / np.sqrt(3), rel=1e-3)
    assert np.isnan(half_width(np.array([1.0])))


def test_ranks_are_means_over_the_sets_for_each_seed():
    scores = np.array([[[0.1], [0.2], [0.3]], [[0.5], [0.5], [0.6]]])  # [sets, sides, seeds]
    assert ranks_of(scores).tolist() == [[2.75], [2.25], [1.0]]


@pytest.mark.parametrize(
    ("task", "linear", "ours", "reached"),
    [
        ("binary", 0.80, 0.7951, True),
        ("binary", 0.80, 0.7949, False),
        ("regression", -1.0, -1.0199, True),
        ("regression", -1.0, -1.0201, False),
    ],
)
def test_the_margins_are_half_a_point_and_two_percent_of_the_error(task, linear, ours, reached):
    assert reaches_linear(task, linear, ours) is reached

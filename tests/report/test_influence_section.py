"""The report's section on importance and slices."""

from __future__ import annotations

import re
from dataclasses import replace

from tests.report.test_page import HOSTILE, Elements, page_text, sample
from trainer.report.influence import ColumnImportance, Importance, Influence, SliceRow, Slices
from trainer.report.page import render


def shown(name: str = "x", columns: int = 3, looked_at: int = 3) -> str:
    importance = Importance(
        "auc",
        1000,
        5,
        (ColumnImportance(name, 0.21, 0.2, 0.22), ColumnImportance("z", -0.0001, -0.001, 0.0008)),
        columns,
        looked_at,
    )
    worst = (
        SliceRow(name, "ulm", 218, 0.408, 0.345, 0.475, True),
        SliceRow("at (hour)", "7", 34, 0.294, 0.168, 0.462, False),
    )
    slices = Slices("share of wrong rows", 0.165, 1000, worst, 127, 0)
    return render(replace(sample("binary"), influence=[Influence("", importance, slices)]))


def test_importance_and_slices_stand_with_their_intervals_counts_and_cautions():
    text = page_text(shown())
    assert "How much ROC AUC gets worse when one column is shuffled among 1,000 validation rows" in text
    assert "Share of wrong rows by category and by tenth of a number; 16.5 % on all 1,000 rows." in text
    assert "Of 127 slices some look bad by chance" in text
    assert "● x ulm 218 40.8 % 34.5 % to 47.5 %" in text
    assert "● at (hour)" not in text
    assert "1 of 3 columns are not measured" in text


def test_hostile_columns_and_values_become_text_and_coordinates_are_finite():
    tame, hostile = shown(), shown(HOSTILE)
    assert Elements(hostile).names == Elements(tame).names
    assert Elements(hostile).attributes == Elements(tame).attributes
    assert not re.search(r'="-?(nan|inf)|[ML ]-?(nan|inf)[ "]', hostile)


def test_without_validation_there_is_no_such_section():
    assert "What the model goes by" not in render(sample("binary"))

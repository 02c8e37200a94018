"""A sample of the hostile inputs; `make hostile` runs all of them."""

import pytest

from tests.hostile.cases import all_cases
from tests.hostile.harness import play

CASES = all_cases()
SAMPLE = [c for c in CASES if c.subject in ("columns", "names", "stored JSON", "kubeconfigs")][::17]


@pytest.mark.parametrize("case", SAMPLE, ids=lambda case: case.id)
def test_a_hostile_input_gets_one_clear_answer(case, tmp_path):
    assert play(case, tmp_path).faults == ()


def test_the_table_holds_at_least_five_hundred_different_inputs():
    assert len({case.id for case in CASES}) == len(CASES) >= 500

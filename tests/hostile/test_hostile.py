"""A sample of the hostile inputs; `make hostile` runs all of them."""

import pytest

from tests.hostile.cases import all_cases
from tests.hostile.harness import play

CASES = all_cases()
SUBJECTS = sorted({case.subject for case in CASES})
#: Of each subject, evenly spaced; a whole run is slower than all others together.
MOST, SLOW = 6, {"exports": 1}


def sample(subject):
    cases, most = [c for c in CASES if c.subject == subject], SLOW.get(subject, MOST)
    return cases[len(cases) // most - 1 :: len(cases) // most][:most]


SAMPLE = [case for subject in SUBJECTS for case in sample(subject)]


@pytest.mark.parametrize("case", SAMPLE, ids=lambda case: case.id)
def test_a_hostile_input_gets_one_clear_answer(case, tmp_path):
    assert play(case, tmp_path).faults == ()


def test_the_sample_has_cases_of_every_subject():
    assert SUBJECTS == [
        "API answers", "columns", "exports", "files", "job files", "kubeconfigs", "names", "stored JSON"
    ]  # fmt: skip
    assert {case.subject for case in SAMPLE} == set(SUBJECTS)


def test_the_table_holds_at_least_five_hundred_different_inputs():
    assert len({case.id for case in CASES}) == len(CASES) >= 500

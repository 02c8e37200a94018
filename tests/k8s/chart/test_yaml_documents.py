"""Manifests as text that Python and Go read alike."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8s.chart.yaml_documents import from_yaml, to_yaml

# Words that one of the two languages takes for something else.
TRICKY = ["1e3", "1e-3", "1E+06", "y", "N", "on", "0o7", "007", "1_000", "12:30", "2013-01-01", "null", "~", "",
          "true", "=", "<<", ".5", "0x1f", "a: b", "- a", "#",
          "'", "line\nline\n", "no end\nhere", " spaced "]  # fmt: skip
_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text() | st.sampled_from(TRICKY),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.sampled_from(TRICKY), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(TRICKY) | st.text(min_size=1), _values, min_size=1, max_size=4))
def test_what_is_written_is_read_again(manifest):
    # PyYAML leaves out what YAML cannot hold; manifests come from helm and hold none of it.
    assert from_yaml(to_yaml([manifest])) == [manifest]


@pytest.mark.parametrize("word", ["1e3", "1e-3", "y", "n", "Y", "1E+06", "+1.5e3"])
def test_what_go_would_read_as_something_else_is_quoted(word):
    assert to_yaml([{"a": word}]) == f"---\na: '{word}'\n"


def test_numbers_as_go_writes_them_are_numbers():
    assert from_yaml("a: 1e+06\nb: 1e-05\nc: 2.5e+10\nd: '1e3'\n") == [
        {"a": 1000000, "b": 1e-05, "c": 2.5e10, "d": "1e3"}
    ]
    assert isinstance(from_yaml("a: 1e+06")[0]["a"], int)


def test_a_job_file_in_a_config_map_reads_as_lines():
    assert to_yaml([{"data": {"job.yaml": "run:\n  a: 1\n"}}]) == "---\ndata:\n  job.yaml: |\n    run:\n      a: 1\n"

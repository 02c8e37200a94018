"""What a run may be called."""

from __future__ import annotations

import pytest

from trainer.errors import ConfigError
from trainer.run_id import check_run_id


@pytest.mark.parametrize("text", ["flights-1a2b3c4d", "a", "0", "a..b", "A_b.c-d", "x" * 128])
def test_an_id_is_returned_unchanged(text):
    assert check_run_id(text, "--run") == text


HOSTILE = ["", ".", "..", "/", "a/", "r1/", "a/b", "../../elsewhere", "r1/../r1", "-x", "_a", " a", "a b", "a\n", "é",
           "%2e", "a\x00", "s3://models/runs/a", "x" * 129]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_no_single_folder_name_is_refused_with_the_place_it_came_from(text):
    with pytest.raises(ConfigError, match="is not a run id") as caught:
        check_run_id(text, "--to")
    assert caught.value.where == "--to"

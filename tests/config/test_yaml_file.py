"""The job file as YAML: JSON is YAML too, with its own escapes."""

import json

import pytest

from trainer.config.yaml_file import load_yaml
from trainer.errors import ConfigError


@pytest.mark.parametrize("text", ["😀", "a😀b🎉", "\U0010ffff", "é日本語", "\\ud83d"])
def test_a_job_file_that_json_wrote_means_what_json_means(text, tmp_path):
    job = tmp_path / "job.json"
    job.write_text(json.dumps({text: [text, {"x": text}]}))
    document, lines = load_yaml(job)
    assert document == {text: [text, {"x": text}]}
    assert lines[text,] == 1


@pytest.mark.parametrize("half", ["\\ud83d", "\\ude00", "\\ude00\\ud83d", "\\ud83dx\\ude00"])
def test_half_a_character_is_refused_with_its_line(half, tmp_path):
    job = tmp_path / "job.json"
    job.write_text(f'{{"a": 1,\n"b": "{half}"}}')
    with pytest.raises(ConfigError, match="half of a character") as fault:
        load_yaml(job)
    assert fault.value.where == f"{job}:2"


@pytest.mark.parametrize("length", [1_000, 3_000])
def test_a_long_key_is_read_as_yaml_allows_it(length, tmp_path):
    job, key = tmp_path / "job.yaml", "x" * length
    job.write_text(f'a:\n  ? "{key}"\n  : 1\n')
    assert load_yaml(job)[0] == {"a": {key: 1}}
    job.write_text(f'a:\n  "{key}": 1\n')
    if length < 1_024:
        assert load_yaml(job)[0] == {"a": {key: 1}}
    else:
        with pytest.raises(ConfigError, match="not YAML") as fault:
            load_yaml(job)
        assert "more than 1,024 characters" in fault.value.remedy

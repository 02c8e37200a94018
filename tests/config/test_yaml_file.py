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

"""The trainer's command line before it does anything."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from trainer import termination


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; from trainer.cli import cli; cli(['--help'], standalone_mode=False); "
    code += "print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    heavy = {"tensorflow", "keras", "kubernetes", "pyarrow", "numpy", "pydantic", "fsspec", "rich", "yaml"}
    assert heavy & set(done.stderr.split()) == set()


def test_check_and_statistics_never_import_tensorflow() -> None:
    code = (
        "import sys, trainer.run.preflight, trainer.feed.statistics.prepare, trainer.run.fit;"
        "import trainer.progress.progress; print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert {"tensorflow", "keras"} & set(done.stdout.split()) == set()


def test_a_word_that_is_no_command_is_configuration() -> None:
    done = subprocess.run([sys.executable, "-m", "trainer", "fti"], check=False, capture_output=True, text=True)
    assert done.returncode == 64
    assert "fti" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_last_words_of_a_container_say_why_it_ended(tmp_path: Path) -> None:
    log = tmp_path / "termination-log"
    log.write_text("")
    done = subprocess.run(
        [sys.executable, "-m", "trainer", "fit", str(tmp_path / "nowhere.yaml")],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "KFIT_TERMINATION_LOG": str(log), "KFIT_RUN": "r-1"},
    )
    assert done.returncode == 64
    said = json.loads(log.read_text())
    assert (said["exit_code"], said["run"]) == (64, "r-1")
    assert "nowhere.yaml" in said["reason"]


def test_last_words_fit_into_what_kubernetes_keeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "termination-log"
    log.write_text("")
    monkeypatch.setenv("KFIT_TERMINATION_LOG", str(log))
    termination.write(65, "ü" * 10_000)
    assert 2_000 < len(log.read_bytes()) <= 4_096
    assert json.loads(log.read_text())["reason"].startswith("üü")


def test_outside_a_container_there_are_no_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KFIT_TERMINATION_LOG", str(tmp_path / "not-there"))
    termination.write(65, "reason")
    assert list(tmp_path.iterdir()) == []


def test_a_signal_before_anything_has_begun_is_a_preemption(tmp_path: Path) -> None:
    """A container's first process gets no signal it has no handler for."""
    pipe = tmp_path / "job.yaml"
    os.mkfifo(pipe)  # the command waits for its job file
    command = [sys.executable, "-m", "trainer", "fit", str(pipe)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process, pipe.open("w"):
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 75


def test_hostile_names_reach_the_terminal_as_text(tmp_path: Path) -> None:
    """Names and values of the data in every table and message: no sequence is obeyed, no markup read."""
    name = "x\x1b[2J[/b]"
    data, job = tmp_path / "data.parquet", tmp_path / "job.yaml"
    table = pa.table({name: [0.5, 1.5, 2.5, 3.5], "c": ["\x9b31m", "[red]", "a", "a"], "label": [0, 1, 0, 1]})
    pq.write_table(table, data)
    features = {name: {"kind": "numeric"}, "c": {"kind": "categorical"}}
    run = {
        "data": {"train": str(data), "label": "label", "features": features},
        "task": "binary",
        "model": {"builtin": "linear"},
        "fit": {"batch_size": 2},
        "output": {"uri": str(tmp_path / "out")},
    }
    shown = ""
    for change in ({}, {"label": f"{name}?"}):
        job.write_text(yaml.safe_dump({"run": {**run, "data": {**run["data"], **change}}}))
        for verb in ("check", "statistics"):
            done = subprocess.run(
                [sys.executable, "-m", "trainer", verb, str(job)],
                check=False,
                capture_output=True,
                text=True,
                env={**os.environ, "KFIT_CACHE": str(tmp_path), "COLUMNS": "200"},
            )
            assert done.returncode == (65 if change else 0), done.stderr
            assert "Traceback" not in done.stderr
            assert all(c.isprintable() or c in "\n\t\xa0" for c in done.stdout + done.stderr)
            shown += done.stdout + done.stderr
    assert shown.count("x\\u001b[2J[/b]") == 2  # the tables; messages quote it
    assert "\\u009b31m" in shown
    assert "[red]" in shown

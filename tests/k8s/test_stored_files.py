"""`kfit open` and `kfit logs` of what a run left in storage."""

from __future__ import annotations

import webbrowser
from pathlib import Path

import pytest

from k8s.errors import NotFound, RefusedError
from tests.k8s.namespace_contents import put
from tests.k8s.objects import job
from trainer import storage

LOG = """\
2026-01-01T00:00:00.000001Z fit  2 epochs of 3 steps of 4 rows
2026-01-01T00:01:00.000001Z epoch 1/2  done in 1s
2026-01-01T00:02:00.000001Z epoch 2/2  done in 1s
"""
TEXTS = [line.partition(" ")[2] for line in LOG.splitlines()]


@pytest.fixture
def output(tmp_path):
    """Where `train-1a2b3c4d` wrote."""
    folder = tmp_path / "out" / "runs" / "train-1a2b3c4d"
    folder.mkdir(parents=True)
    (folder / "report.html").write_text("<p>report</p>")
    (folder / "log.txt").write_text(LOG)
    (folder / "result.json").write_text('{"exit_code": 65}')
    return str(tmp_path / "out")


@pytest.fixture
def opened(monkeypatch):
    uris = []
    monkeypatch.setattr(webbrowser, "open", lambda uri: uris.append(uri) or True)
    return uris


def test_the_report_of_a_job_is_opened(server, kfit, output, opened):
    put(server, job(annotations={"kfit.dev/output-uri": output}))
    assert kfit("open", "train") == ""
    assert opened == [Path(output, "runs/train-1a2b3c4d/report.html").as_uri()]


def test_a_report_in_object_storage_is_copied_to_this_users_cache(kfit, s3, opened, tmp_path, monkeypatch):
    monkeypatch.setenv("KFIT_CACHE", str(tmp_path / "cache"))
    output = f"s3://{s3.bucket}/open"
    storage.write(f"{output}/runs/gone-1/report.html", b"<p>one</p>")
    kfit("open", "gone-1", "--output-uri", output)
    path = tmp_path / "cache" / "kfit" / "reports" / "gone-1.html"
    assert opened == [path.as_uri()]
    assert path.read_text() == "<p>one</p>"
    assert path.stat().st_mode & 0o777 == 0o600
    storage.write(f"{output}/runs/gone-1/report.html", b"<p>two</p>")
    assert kfit("open", "gone-1", "--output-uri", output, "--print") == f"{path}\n"
    assert path.read_text() == "<p>two</p>"
    assert len(opened) == 1


def test_without_a_browser_the_path_is_printed(kfit, output, monkeypatch):
    monkeypatch.setattr(webbrowser, "open", lambda _: False)
    printed = kfit("open", "train-1a2b3c4d", "--output-uri", output)
    assert printed == f"{output}/runs/train-1a2b3c4d/report.html\n"


def test_a_run_without_a_report_says_so(server, kfit, tmp_path, opened):
    put(server, job(annotations={"kfit.dev/output-uri": str(tmp_path)}))
    with pytest.raises(NotFound, match="no report of run train-1a2b3c4d") as caught:
        kfit("open", "train")
    assert "kfit why train-1a2b3c4d" in caught.value.remedy
    assert opened == []


@pytest.mark.parametrize("run", ["../../etc", "a/b", "", ".."])
def test_a_run_that_would_be_another_path_is_refused(kfit, output, opened, run):
    with pytest.raises(RefusedError):
        kfit("open", run, "--output-uri", output)
    assert opened == []


def test_logs_of_a_run_whose_job_is_gone_come_from_storage(kfit, output):
    words = ("logs", "train-1a2b3c4d", "--output-uri", output)
    assert kfit(*words).splitlines() == TEXTS
    assert kfit(*words, "--timestamps") == LOG
    assert kfit(*words, "--tail", "1").splitlines() == TEXTS[-1:]
    assert kfit(*words, "--tail", "0") == ""
    assert kfit(*words, "--tail", "-1").splitlines() == TEXTS
    assert kfit(*words, "--since", "1h") == ""
    assert kfit(*words, "--since", "36500d").splitlines() == TEXTS
    assert kfit(*words, "--pod", "0").splitlines() == TEXTS
    with pytest.raises(NotFound, match="only worker 0 keeps one"):
        kfit(*words, "--pod", "1")


def test_logs_find_storage_by_another_job_of_the_file_and_by_the_job_file(server, kfit, output, tmp_path):
    put(server, job("train-00000000", annotations={"kfit.dev/output-uri": output}))
    assert kfit("logs", "train-1a2b3c4d").splitlines() == TEXTS
    server.behind.objects.clear()
    path = tmp_path / "job.yaml"
    data = "data: {train: lake, label: late, features: {distance: {kind: numeric}}}"
    path.write_text(f"run: {{{data}, task: binary, model: {{builtin: mlp}}, output: {{uri: {output}}}}}\n")
    assert kfit("logs", "train-1a2b3c4d", "--file", str(path)).splitlines() == TEXTS


def test_following_a_run_whose_job_is_gone_ends_with_its_exit_code(kfit, output):
    words = ("logs", "-f", "train-1a2b3c4d", "--output-uri", output)
    assert kfit(*words, code=65).splitlines() == TEXTS
    Path(output, "runs/train-1a2b3c4d/result.json").unlink()
    kfit(*words, code=4)


@pytest.mark.parametrize("verb", ["logs", "why", "open"])
def test_a_run_of_which_nothing_is_known_is_told_with_the_flags_that_say_more(kfit, verb):
    with pytest.raises(NotFound, match="no run 'gone-1'") as caught:
        kfit(verb, "gone-1")
    assert caught.value.remedy.count("-f JOB") == 1
    assert "logs: --file JOB" in caught.value.remedy


def test_a_run_that_kept_no_log_says_so(kfit, output):
    with pytest.raises(NotFound, match="no log of run gone-1"):
        kfit("logs", "gone-1", "--output-uri", output)

"""`kfit history`, `compare`, `promote`, `rollback` and `prune`, on folders as runs leave them."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from k8s.cli import cli
from k8s.commands.nights.history import sparkline, took, verdict
from tests import sets
from tests.nightly import runs
from tests.nightly.test_drift import categories, numbers
from trainer import storage
from trainer.cli import run
from trainer.nightly import history, production
from trainer.schema import Statistics


@pytest.fixture
def kfit(capsys):
    """Runs the command line: exit code, stdout, stderr."""

    def call(*words: str) -> tuple[int, str, str]:
        code = run(cli, list(words))
        out, err = capsys.readouterr()
        return code, out, err

    return call


def nights(output: str) -> None:
    """Four runs: promoted, kept out, skipped, failed; and one that is under way."""
    gain = {"metric": "auc", "gain": -0.01, "low": -0.02, "high": 0.001}
    window = {"train": {"first": "2013-02-01", "last": "2013-02-28", "days": 28, "missing": []}}
    first = {"promoted": True, "why": "the first run keeps the limits", "metrics": {"auc": 0.7}}
    worse = {"promoted": False, "why": "auc gains −0.0100: not surely above 0", "metrics": {"auc": 0.69}, "gain": gain}
    runs.leave(output, "n1", date="2013-03-01", windows=window, decision=first, finished="2013-03-01T02:00:00Z")
    runs.leave(output, "n2", date="2013-03-02", decision=worse, finished="2013-03-02T02:00:00Z")
    skipped = {"status": "skipped", "metrics": {}, "reason": "unchanged since n2", "ledger_s": {"start": 0.5}}
    runs.leave(output, "n3", model=False, finished="2013-03-03T02:00:00Z", **skipped)
    failed = {"status": "failed", "metrics": {}, "exit_code": 65, "reason": "s3://l/x: truncated\n  write it again"}
    runs.leave(output, "n4", model=False, finished="2013-03-04T02:00:00Z", **failed)
    storage.write(storage.join(output, "runs", "n5", "config.json"), b'{"date": "2013-03-05"}')
    production.move(output, "n1", current=None, why="first")


def test_history_tells_every_night_and_what_became_of_it(output, kfit):
    nights(output)
    code, out, _ = kfit("history", "--output-uri", output)
    assert code == 0
    lines = [line.rstrip() for line in out.splitlines()]
    assert [line.split()[0] for line in lines[1:6]] == ["n1", "n2", "n3", "n4", "n5"]
    assert lines[1].endswith("● in production  promoted: the first run keeps the limits")
    assert "02-01 … 02-28  auc 0.7000  20 s" in lines[1]
    assert lines[2].endswith("kept out: auc gains −0.0100: not surely above 0")
    assert lines[3].endswith("unchanged since n2")
    assert lines[4].endswith("s3://l/x: truncated")
    assert "unfinished" in lines[5]
    assert lines[-1] == "auc █▁··· 0.6900 … 0.7000   5 runs: 2 succeeded, 1 skipped, 1 failed, 1 unfinished; 1 promoted"


def test_history_for_scripts(output, kfit):
    nights(output)
    code, out, err = kfit("history", "--output-uri", output, "-o", "json", "--last", "2")
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert document["production"] == "n1"
    assert [(r["run"], r["status"], r["exit_code"]) for r in document["runs"]] == [
        ("n4", "failed", 65),
        ("n5", "unfinished", None),
    ]
    assert kfit("history", "--output-uri", output, "-o", "name")[1].split() == ["n1", "n2", "n3", "n4", "n5"]


def test_a_job_file_names_the_output(tmp_path, kfit):
    nights(str(tmp_path / "out"))
    job = sets.write_job(tmp_path / "job.yaml", sets.job("x", tmp_path / "out"))
    assert kfit("history", "-f", str(job), "-o", "name")[1].split()[0] == "n1"
    for words in ((), ("-f", str(job), "--output-uri", "x")):
        code, _, err = kfit("history", *words)
        assert code == 64
        assert "say which job" in err


def test_promote_and_rollback_and_what_a_dry_run_says(output, kfit):
    nights(output)
    assert kfit("promote", "n2", "--output-uri", output, "--dry-run")[1] == "n1 -> n2 (dry run: nothing was changed)\n"
    assert production.read(output).run == "n1"
    code, out, err = kfit("promote", "n2", "--output-uri", output, "--why", "looks right")
    assert (code, out) == (0, "n1 -> n2\n")
    assert err == f"back again: kfit rollback --output-uri {output} --to n1\n"
    seen = production.read(output)
    assert (seen.run, seen.previous, seen.why, seen.action) == ("n2", "n1", "looks right", "promote")

    assert kfit("rollback", "--output-uri", output, "--dry-run")[1] == "n2 -> n1 (dry run: nothing was changed)\n"
    assert kfit("rollback", "--output-uri", output, "-o", "json")[0] == 0
    seen = production.read(output)
    assert (seen.run, seen.generation, seen.action) == ("n1", 3, "rollback")
    code, _, err = kfit("rollback", "--output-uri", output)
    assert code == 64
    assert "n1 has no run before it" in err
    assert kfit("rollback", "--output-uri", output, "--to", "n2")[1] == "n1 -> n2\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("promote", "n1"), "n1 is in production already"),
        (("promote", "n3"), "the run has no published model"),
        (("promote", "nobody", "--dry-run"), "no such run"),
        (("rollback", "--to", "n4"), "the run has no published model"),
        (("rollback", "--to", "n1"), "n1 is in production already"),
        (("prune",), "nothing says which runs stay"),
        (("prune", "--older-than", "3x"), "not a number of days"),
        (("compare", "n1", "n1"), "are one run"),
        (("compare", "n1", "nobody"), "no such run"),
    ],
)
def test_what_cannot_be_done_is_said_and_changes_nothing(tmp_path, kfit, words, says):
    output = str(tmp_path / "out")
    nights(output)
    before = storage.read(storage.join(output, "production.json"))
    code, _, err = kfit(*words, "--output-uri", output)
    assert code == 64
    assert says in err
    assert storage.read(storage.join(output, "production.json")) == before


def test_prune_by_the_job_files_rule_or_the_command_lines(tmp_path, kfit):
    output = str(tmp_path / "out")
    for day in range(1, 7):
        runs.leave(output, f"r{day}", finished=f"2013-03-0{day}T02:00:00Z")
    production.move(output, "r1", current=None, why="")
    job = sets.write_job(tmp_path / "job.yaml", sets.job("x", output, output__keep_runs={"count": 3}))
    code, out, err = kfit("prune", "-f", str(job), "--dry-run", "-o", "name")
    assert (code, out.split(), err) == (0, ["r2", "r3"], "2 runs would go\n")
    assert len(history.read(output)) == 6
    assert kfit("prune", "-f", str(job), "--keep", "4", "-o", "name")[1].split() == ["r2"]
    assert [night.run for night in history.read(output)] == ["r1", "r3", "r4", "r5", "r6"]


def record(output: str, run_id: str, *, auc: float, shift: float, batch: int) -> None:
    """A run with statistics, configuration and curves."""
    folder = Path(output) / "runs" / run_id
    runs.leave(output, run_id, metrics={"train": {"auc": auc + 0.05}, "validation": {"auc": auc}})
    rng = np.random.default_rng(0)
    columns = {"x": numbers(rng.normal(shift, 1, 5000)), "city": categories({"<ulm>": 10, "bonn": 20})}
    (folder / "statistics.json").write_text(json.dumps(asdict(Statistics(5000, columns))))
    config = {"fit": {"batch_size": batch, "epochs": 2}, "task": "binary"}
    shards = [{"uri": f"s3://lake/{run_id}/a", "version": "1"}, {"uri": "s3://lake/both", "version": "1"}]
    document = {"run": run_id, "config": config, "versions": {"kfit": "0.1.0"}, "shards": shards}
    (folder / "config.json").write_text(json.dumps(document))
    lines = [{"epoch": e, "step": 5, "end": True, "auc": auc, "val_auc": auc - 0.1 / (e + 1)} for e in range(3)]
    lines.insert(1, {"epoch": 1, "step": 2, "auc": 0.1})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_compare_shows_what_differs(tmp_path, kfit):
    output = str(tmp_path)
    record(output, "a", auc=0.7, shift=0.0, batch=64)
    record(output, "b", auc=0.72, shift=1.0, batch=128)
    code, out, _ = kfit("compare", "a", "b", "--output-uri", output, "-o", "json")
    assert code == 0
    comparison = json.loads(out)
    assert comparison["configuration"] == [{"key": "run.fit.batch_size", "a": 64, "b": 128}]
    assert {"key": "validation auc", "a": 0.7, "b": 0.72} in comparison["metrics"]
    assert {"key": "shards only here", "a": 1, "b": 1} in comparison["data"]
    assert [row["key"].split()[0] for row in comparison["columns"]] == ["x", "city"]  # the farthest moved first
    table = kfit("compare", f"{output}/runs/a", f"{output}/runs/b")[1]
    assert "run.fit.batch_size  64  128     +64" in table


def test_the_page_of_two_runs_stands_alone_and_escapes_what_the_data_holds(tmp_path, kfit):
    output = str(tmp_path)
    record(output, "a", auc=0.7, shift=0.0, batch=64)
    record(output, "b", auc=0.72, shift=1.0, batch=128)
    page = kfit("compare", "a", "b", "--output-uri", output, "-o", "html")[1]
    assert page.startswith("<!doctype html>")
    assert "&lt;ulm&gt;" in page
    assert "<ulm>" not in page
    assert "auc on validation" in page
    assert page.count('class="line first"') == page.count('class="line second"') == 1
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")


@pytest.mark.parametrize(
    ("values", "bars"),
    [
        ([], ""),
        ([None], ""),
        ([0.5], "▄"),
        ([0.5, 0.5], "▄▄"),
        ([0.0, None, 1.0], "▁·█"),
        ([3, 2, 1, float("nan")], "█▅▁·"),
    ],
)
def test_a_sparkline(values, bars):
    assert sparkline(values) == bars


def test_words_of_a_night():
    assert [took(history.RunSummary("r", "", duration_s=s)) for s in (None, 0.4, 59.4, 59.6, 3661)] == [
        "–",
        "0 s",
        "59 s",
        "1:00",
        "1:01:01",
    ]
    assert verdict(history.RunSummary("r", "failed", why="a shard is bad\n  write it again")) == "a shard is bad"


@pytest.mark.parametrize("name", ["n2/", "../../elsewhere", "n1/../n2", "", "runs/n2", "n2\n"])
@pytest.mark.parametrize("verb", [("promote",), ("rollback", "--to")])
def test_production_moves_only_to_a_run_id(output, kfit, verb, name):
    nights(output)
    before = storage.read(storage.join(output, "production.json"))
    code, out, err = kfit(*verb, name, "--output-uri", output)
    assert (code, out) == (64, "")
    assert "is not a run id" in err
    assert storage.read(storage.join(output, "production.json")) == before


def test_the_older_output_flag_still_names_the_place(output, kfit):
    nights(output)
    code, out, err = kfit("history", "--output", output, "-o", "name")
    assert (code, out.split()) == (0, ["n1", "n2", "n3", "n4", "n5"])
    assert "`--output URI` is now `--output-uri URI`" in err
    assert kfit("history", "--output-uri", output, "--output", "html")[0] == 64


@pytest.mark.parametrize("name", ["config.json", "result.json", "metrics.jsonl", "statistics.json"])
def test_a_damaged_file_of_a_compared_run_is_named(tmp_path, kfit, name):
    output = str(tmp_path)
    record(output, "a", auc=0.7, shift=0.0, batch=64)
    record(output, "b", auc=0.72, shift=1.0, batch=128)
    broken = tmp_path / "runs" / "a" / name
    broken.write_bytes(b"{\xff")
    code, out, err = kfit("compare", "a", "b", "--output-uri", output)
    assert (code, out) == (65, "")
    assert f"{broken}: is damaged" in err
    assert "Traceback" not in err


def test_history_and_prune_go_on_beside_a_damaged_run(tmp_path, kfit):
    output = str(tmp_path / "out")
    nights(output)
    broken = storage.join(output, "runs", "n2", "result.json")
    storage.write(broken, b"{")
    code, out, err = kfit("history", "--output-uri", output, "-o", "name")
    assert (code, out.split()) == (0, ["n1", "n3", "n4", "n5"])
    assert err == f"warning: {broken} is damaged; n2 is left out. Delete the file, or the run's folder\n"
    assert kfit("prune", "--output-uri", output, "--keep", "1", "--dry-run")[0] == 0


def test_compare_of_a_run_from_before_does_not_show_the_url_it_kept(tmp_path, kfit):
    output = str(tmp_path)
    for name, url in (("a", "https://hooks.example/s3cret"), ("b", "https://hooks.example/0ther")):
        record(output, name, auc=0.7, shift=0.0, batch=64)
        path = tmp_path / "runs" / name / "config.json"
        document = json.loads(path.read_text())
        document["config"]["notify"] = {"url": url}
        path.write_text(json.dumps(document))
    for form in ("table", "json", "html"):
        out = kfit("compare", "a", "b", "--output-uri", output, "-o", form)[1]
        assert "s3cret" not in out
        assert "0ther" not in out

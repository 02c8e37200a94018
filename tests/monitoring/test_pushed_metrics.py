"""Runs that push their metrics: a real Pushgateway, a real Prometheus that scrapes it, and gateways that fail."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import sets
from tests.chart.charts import ROOT
from tests.chart.templates.test_dashboard import BOARD, queries, series_of
from tests.faults.ends import differences
from tests.monitoring import programs
from tests.monitoring.programs import Prometheus
from tests.run.test_endings import failing
from tests.trainer_process import environment, trainer
from tests.webhook_receiver import Receiver, listening
from trainer.checkpoint.run_folder import RunFolder
from trainer.config import Config, Metrics
from trainer.errors import DataError
from trainer.progress.progress import Progress
from trainer.progress.views import View
from trainer.run.fit import fit

NOTE = "warning: metrics were not pushed to the Pushgateway: "


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sets.write(tmp_path_factory.mktemp("pushed") / "data")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Prometheus]]:
    """A Pushgateway's URL, and the Prometheus that scrapes it."""
    with (
        programs.pushgateway() as url,
        programs.prometheus(tmp_path_factory.mktemp("tsdb"), url.removeprefix("http://")) as found,
    ):
        yield url, found


def panels_of(prefix: str) -> list[str]:
    """The dashboard's queries of pushed series of a prefix, as Grafana sends them where every variable says All."""
    return [
        re.sub(r"\$\w+", ".*", expression)
        for expression in queries(BOARD)
        if not expression.startswith("label_values") and any(s.startswith(prefix) for s in series_of(expression))
    ]


def names(prometheus: Prometheus) -> set[str]:
    """Names of the series of ours that Prometheus has."""
    return {labels["__name__"] for labels, _ in prometheus.query('count by (__name__) ({__name__=~"kfit_.+"})')}


def documented() -> set[str]:
    rows = [row for row in (ROOT / "docs" / "metrics.md").read_text().splitlines() if row.startswith("| `")]
    return {name for row in rows for name in series_of(row.split("|")[1]) if name.startswith("kfit_")}


def test_prometheus_sees_runs_while_they_train_and_their_results_afterwards(tmp_path, data, served):
    gateway, prometheus = served
    output = str(tmp_path / "out")

    def job(epochs: int) -> str:
        file = tmp_path / f"{epochs}.yaml"
        fit = {"epochs": epochs, "batch_size": 64, "early_stopping": None}
        document = sets.job(data / "part-[012].parquet", output, fit=fit, promote={"max_loss": 0.5})
        more = {"metrics": {"pushgateway": gateway, "every": "1s"}, "data__holdout": str(data / "part-3.parquet")}
        return str(sets.write_job(file, sets.change(document, more)))

    done = trainer(tmp_path, "fit", job(2), "--run", "a")
    assert done.returncode == 0, done.stderr
    assert NOTE not in done.stderr

    of_b = f'{{job="kfit", output="{output}", run="b"}}'
    words = ["fit", job(100_000), "--run", "b", "--devices", "cpu"]
    running = subprocess.Popen([sys.executable, "-m", "trainer", *words], env=environment(tmp_path))
    try:
        first = prometheus.wait_for(f"kfit_run_step{of_b} > 20", timeout_s=120)[0][1]
        prometheus.wait_for(f"kfit_run_step{of_b} > {first}")
        prometheus.wait_for(f"kfit_run_feed_wait_ratio{of_b}")
        for expression in panels_of("kfit_run_") + panels_of("push_"):
            assert prometheus.wait_for(expression), expression
        value = {name: prometheus.query(f"kfit_run_{name}{of_b}")[0][1] for name in ("steps", "feed_wait_ratio")}
        assert value["steps"] == 100_000 * 6
        assert 0 < value["feed_wait_ratio"] <= 1
        shown = {(s["split"], s["metric"]) for s, _ in prometheus.query(f"kfit_run_metric{of_b}")}
        assert {(split, "loss") for split in ("train", "validation")} <= shown
        assert 0 <= prometheus.query(f"time() - kfit_run_checkpoint_timestamp_seconds{of_b}")[0][1] < 60
        pushed = names(prometheus)
    finally:
        running.terminate()
        assert running.wait(60) == 75
    prometheus.wait_for('kfit_last_run_status{status="preempted"} == 1')
    prometheus.wait_for(f"absent(kfit_run_step{of_b})")

    done = trainer(tmp_path, "fit", job(3), "--run", "c")
    assert done.returncode == 0, done.stderr
    prometheus.wait_for('kfit_last_run_status{status="succeeded"} == 1')
    for expression in panels_of("kfit_last_") + panels_of("kfit_nights_") + panels_of("kfit_production_"):
        assert prometheus.query(expression), expression
    assert pushed | names(prometheus) == documented()


class Notes(View):
    """Keeps what a person is told."""

    every_s = 1e9

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        """Keeps the line."""
        self.lines.append(text)


def small(data: Path, output: Path, **changes: Any) -> Config:
    document = sets.job(data, output, fit={"epochs": 25, "batch_size": 64, "early_stopping": None}, **changes)
    return Config.load(sets.write_job(output.with_suffix(".yaml"), document))


def fitted(config: Config) -> list[str]:
    """What a run tells about pushes."""
    notes = Notes()
    result = fit(config, run_id="r", devices="cpu", progress=Progress([notes], time.monotonic))
    assert result.document["status"] == "succeeded"
    return [line for line in notes.lines if "Pushgateway" in line]


@pytest.fixture(scope="module")
def untold(tmp_path_factory: pytest.TempPathFactory, data: Path) -> RunFolder:
    """A run that pushes nothing."""
    output = tmp_path_factory.mktemp("untold") / "out"
    assert fitted(small(data, output)) == []
    return RunFolder(str(output), "r")


def refuse(self: Receiver) -> None:
    """Answers 400 and keeps what came."""
    self.got.append((dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
    self.send_response(400)
    self.end_headers()


@pytest.mark.parametrize("gateway", ["down", "silent", "400"])
def test_a_gateway_that_fails_changes_nothing_of_a_run(tmp_path, monkeypatch, data, untold, gateway):
    fault = {"down": "Connection refused", "silent": "no answer in time", "400": "it answered 400"}[gateway]
    monkeypatch.setattr(Receiver, "do_PUT", refuse, raising=False)
    with listening() as (url, receiver), socket.create_server(("127.0.0.1", 0)) as server:
        silent = f"http://127.0.0.1:{server.getsockname()[1]}"
        where = {"down": "http://127.0.0.1:9", "silent": silent, "400": url}[gateway]
        metrics = {"pushgateway": where.replace("//", "//me:s3cret@"), "every": "1s"}
        lines = fitted(small(data, tmp_path / "out", metrics=metrics))
        assert gateway != "400" or len(receiver.got) > 1  # while it trained, and at its end
    assert len(lines) == 1
    assert lines[0].startswith(NOTE)
    assert lines[0].endswith(fault)
    assert differences(untold, RunFolder(str(tmp_path / "out"), "r")) == []
    for file in (tmp_path / "out").rglob("*"):
        assert not file.is_file() or b"s3cret" not in file.read_bytes(), file


def test_a_silent_gateway_does_not_keep_a_failed_process(tmp_path):
    notes = Notes()
    with socket.create_server(("127.0.0.1", 0)) as server:
        metrics = Metrics(pushgateway=f"http://127.0.0.1:{server.getsockname()[1]}")
        config = failing(tmp_path, "http://127.0.0.1:9/").model_copy(update={"metrics": metrics})
        began = time.monotonic()
        with pytest.raises(DataError):
            fit(config, run_id="r", progress=Progress([notes], time.monotonic))
        assert time.monotonic() - began < 5
    assert [line for line in notes.lines if "Pushgateway" in line] == [f"{NOTE}no answer in time"]


def test_of_several_workers_one_pushes(tmp_path, data):
    job = sets.job(data, tmp_path / "out", metrics={"pushgateway": "http://127.0.0.1:9"})
    words = [str(sets.write_job(tmp_path / "job.yaml", job)), "--workers", "2", "--run", "r", "--devices", "cpu"]
    done = trainer(tmp_path, "fit", *words)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(NOTE) == 1

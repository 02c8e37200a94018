"""Who is told when a run ends: a URL, signed and retried, and Prometheus."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import ClassVar

import pytest

from tests.nightly import runs
from trainer.config import Notify
from trainer.nightly import history, notify, production, prometheus


class Receiver(BaseHTTPRequestHandler):
    """Answers with the codes of `answers`, the last of them for ever, and keeps what it got."""

    answers: ClassVar[list[int]] = [200]
    got: ClassVar[list[tuple[dict[str, str], bytes]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.got.append((dict(self.headers), body))
        self.send_response(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def receiver() -> Iterator[tuple[str, type[Receiver]]]:
    Receiver.answers, Receiver.got = [200], []
    server = HTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook", Receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_result_arrives_with_a_signature_that_the_receiver_can_check(receiver):
    url, got = receiver
    result = runs.result("r")
    environment = {"KFIT_NOTIFY_SECRET": "key"}
    assert notify.post(Notify(url=url), result, environment=environment, deadline_s=5, now=lambda: 1234.5) is None
    ((headers, body),) = got.got
    assert json.loads(body) == result
    assert headers["Content-Type"] == "application/json"
    assert headers["X-Kfit-Timestamp"] == "1234"
    expected = hmac.new(b"key", b"1234." + body, hashlib.sha256).hexdigest()
    assert headers["X-Kfit-Signature"] == f"sha256={expected}"


def test_without_a_key_it_is_not_signed(receiver):
    url, got = receiver
    assert notify.post(Notify(url=url), runs.result("r"), environment={}, deadline_s=5) is None
    assert "X-Kfit-Signature" not in got.got[0][0]


def test_what_may_pass_is_tried_again_and_a_refusal_is_final(receiver):
    url, got = receiver
    got.answers = [503, 200]
    assert notify.post(Notify(url=url), runs.result("r"), environment={}, deadline_s=10) is None
    assert len(got.got) == 2
    got.answers = [404]
    assert notify.post(Notify(url=url), runs.result("r"), environment={}, deadline_s=10) == "the receiver answered 404"
    assert len(got.got) == 3
    got.answers = [500]
    assert notify.post(Notify(url=url), runs.result("r"), environment={}, deadline_s=1) == "the receiver answered 500"


def test_nobody_there_is_a_note_that_does_not_tell_the_url():
    secret = Notify(url_env="HOOK")
    fault = notify.post(secret, runs.result("r"), environment={"HOOK": "http://127.0.0.1:9/s3cret"}, deadline_s=0.5)
    assert fault is not None
    assert "refused" in fault
    assert "s3cret" not in fault
    assert notify.post(secret, runs.result("r"), environment={}, deadline_s=1) == "HOOK holds no http or https URL"


@pytest.mark.parametrize(
    ("on", "changes", "told"),
    [
        (["failed"], {}, False),
        (["failed"], {"status": "failed"}, True),
        (["promoted"], {}, False),
        (["promoted"], {"decision": {"promoted": True}}, True),
        (["promoted"], {"decision": {"promoted": False}}, False),
        (["succeeded", "skipped"], {"status": "skipped"}, True),
    ],
)
def test_only_the_ends_that_were_asked_for_are_told(on, changes, told):
    assert notify.wanted(Notify(url="https://x", on=on), runs.result("r", **changes)) is told


def samples(text: str) -> dict[str, float]:
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if line[0] != "#"}


def test_prometheus_reads_the_last_run_and_production():
    decision = {"promoted": False, "metrics": {"auc": 0.7}, "gain": {"gain": 0.01, "low": None, "high": 0.02}}
    result = runs.result("c", decision=decision, finished="2013-03-03T00:00:00Z")
    nights = [
        history.summarize(runs.result("a", finished="2013-03-01T00:00:00Z")),
        history.summarize(runs.result("b", finished="2013-03-02T00:00:00Z", status="skipped")),
        history.summarize(runs.result("c", finished="2013-03-03T00:00:00Z", status="failed")),
        history.Night("d", "unfinished"),
    ]
    seen = production.Production("a", 3, "me", "2013-03-01T00:00:00Z", "", "promote", None, ())
    text = prometheus.text('s3://models/"x"', result, nights, seen)
    assert text.startswith(
        "# HELP kfit_last_run_finished_seconds When the last run ended.\n# TYPE kfit_last_run_finished"
    )
    here = 'output="s3://models/\\"x\\""'
    found = samples(text)
    assert found[f"kfit_last_run_finished_seconds{{{here}}}"] == 1362268800
    assert found[f'kfit_last_run_status{{{here},status="succeeded"}}'] == 1
    assert found[f'kfit_last_run_status{{{here},status="failed"}}'] == 0
    assert found[f"kfit_last_run_duration_seconds{{{here}}}"] == 20
    assert found[f'kfit_last_run_metric{{{here},split="holdout",metric="auc"}}'] == 0.7
    assert found[f'kfit_last_run_gain{{{here},bound="gain"}}'] == 0.01
    assert f'kfit_last_run_gain{{{here},bound="low"}}' not in found
    assert found[f"kfit_last_trained_seconds{{{here}}}"] == 1362096000
    assert found[f"kfit_nights_without_training{{{here}}}"] == 2
    assert found[f"kfit_production_promoted_seconds{{{here}}}"] == 1362096000
    assert found[f'kfit_production_info{{{here},run="a",generation="3"}}'] == 1


def test_without_production_there_is_no_sample_of_it():
    assert "kfit_production" not in prometheus.text("o", runs.result("r"), [], None)


def test_a_url_and_a_variable_with_it_are_one_too_many():
    for words in ({}, {"url": "https://x", "url_env": "X"}, {"url": "ftp://x"}):
        with pytest.raises(ValueError, match="url"):
            Notify(**words)

"""Pushes to a real Pushgateway: a run in progress and the last run, each in a group of its own."""

from __future__ import annotations

import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from tests.monitoring import programs
from tests.nightly import runs
from tests.webhook_receiver import Receiver, listening
from trainer.config import Metrics
from trainer.nightly import prometheus
from trainer.nightly.pushgateway import Pushgateway
from trainer.progress.progress import Progress

OUTPUT = "s3://models/flights"


@pytest.fixture(scope="module")
def gateway() -> Iterator[str]:
    with programs.pushgateway() as url:
        yield url


Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def groups(gateway: str) -> dict[str, Samples]:
    """What the Pushgateway has of kfit, by run ("" for none); names and labels without those of the group."""
    with urllib.request.urlopen(f"{gateway}/metrics", timeout=10) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    found: dict[str, Samples] = {}
    for sample in (sample for family in families for sample in family.samples):
        labels = dict(sample.labels)
        if labels.pop("job", "") == "kfit" and not sample.name.startswith("push_"):
            assert labels.pop("output") == OUTPUT
            labels.pop("instance")
            found.setdefault(labels.pop("run", ""), {})[sample.name, frozenset(labels.items())] = sample.value
    return found


def key(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


def wait_for(what: Callable[[], bool], timeout_s: float = 20.0) -> None:
    """The Pushgateway answers a deletion before it deletes."""
    ends = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < ends
        time.sleep(0.05)


def pushing(url: str, run: str = "r", *, note: Callable[[str], None] = print) -> tuple[Progress, Pushgateway]:
    """A run that pushes every second."""
    progress = Progress([], time.monotonic)
    pushes = Pushgateway(Metrics(pushgateway=url, every="1s"), f"{OUTPUT}/", run, note, {})
    progress.add(pushes)
    pushes.begin()
    return progress, pushes


def last_run(**changes: object) -> CollectorRegistry:
    return prometheus.last_run(OUTPUT, runs.result("r", **changes), [], None)


def test_a_run_is_seen_while_it_trains_and_its_result_afterwards(gateway):
    progress, pushes = pushing(gateway)
    progress.phase("statistics")
    wait_for(lambda: "r" in groups(gateway))
    assert groups(gateway)["r"] == {key("kfit_run_phase", phase="statistics"): 1}

    progress.start(epochs=3, steps=10, rows_per_step=64, first_epoch=1, first_step=2)
    progress.step(1, 3, lambda: {"loss": 0.5, "auc": 0.7})
    progress.epoch_end(1, {"loss": 0.4, "val_loss": float("nan"), "val_auc": 0.8}, best=True)
    progress.checkpoint(20)
    committed_s = time.time()
    for step, loss in ((3, 0.35), (4, 0.3)):
        time.sleep(1.1)  # a step is shown to a view that is due
        progress.step(2, step, lambda loss=loss: {"loss": loss, "auc": 0.9})
    wait_for(lambda: groups(gateway)["r"].get(key("kfit_run_step")) == 24)
    found = groups(gateway)["r"]
    assert abs(found.pop(key("kfit_run_checkpoint_timestamp_seconds")) - committed_s) < 5
    assert found.pop(key("kfit_run_rows_per_second")) > 0
    assert found.pop(key("kfit_run_eta_seconds")) >= 0
    assert found == {
        key("kfit_run_phase", phase="fit"): 1,
        key("kfit_run_epoch"): 3,
        key("kfit_run_epochs"): 3,
        key("kfit_run_step"): 24,
        key("kfit_run_steps"): 30,
        key("kfit_run_checkpoint_step"): 20,
        key("kfit_run_feed_wait_ratio"): 0,
        key("kfit_run_metric", split="train", metric="loss"): 0.3,
        key("kfit_run_metric", split="train", metric="auc"): 0.9,
        key("kfit_run_metric", split="validation", metric="auc"): 0.8,
    }

    pushes.conclude(last_run(), 5.0)
    wait_for(lambda: set(groups(gateway)) == {""})
    after = groups(gateway)
    assert after[""][key("kfit_last_run_status", status="succeeded")] == 1
    assert after[""][key("kfit_last_run_metric", split="validation", metric="auc")] == 0.75


def test_the_share_of_waiting_is_that_of_the_time_between_two_readings(gateway):
    progress, pushes = pushing(gateway)
    progress.start(epochs=1, steps=1000, rows_per_step=64, wait_s=lambda: time.monotonic() / 4)
    time.sleep(1.05)
    progress.step(0, 1, dict)
    wait_for(lambda: key("kfit_run_feed_wait_ratio") in groups(gateway).get("r", {}))
    assert groups(gateway)["r"][key("kfit_run_feed_wait_ratio")] == pytest.approx(0.25, abs=0.02)
    pushes.conclude(None, 5.0)


def test_runs_side_by_side_do_not_overwrite_each_other(gateway):
    both = {run: pushing(gateway, run) for run in ("a", "b")}
    for n, (progress, _) in enumerate(both.values(), start=1):
        progress.start(epochs=n, steps=5, rows_per_step=1)
    wait_for(lambda: {"a", "b"} <= set(groups(gateway)))
    assert [groups(gateway)[run][key("kfit_run_epochs")] for run in ("a", "b")] == [1, 2]
    both["a"][1].conclude(last_run(status="failed"), 5.0)
    wait_for(lambda: {"a", "b"} & set(groups(gateway)) == {"b"})
    both["b"][1].conclude(last_run(status="skipped"), 5.0)
    wait_for(lambda: set(groups(gateway)) == {""})
    (group,) = groups(gateway).values()
    assert [group[key("kfit_last_run_status", status=s)] for s in ("failed", "skipped")] == [0, 1]


def test_what_a_killed_process_left_goes_with_the_end_of_its_retry(gateway):
    progress, killed = pushing(gateway)
    progress.start(epochs=1, steps=5, rows_per_step=1)
    wait_for(lambda: "r" in groups(gateway))
    killed.stop()
    killed._thread.join()
    assert "r" in groups(gateway)
    pushing(gateway)[1].conclude(None, 5.0)
    wait_for(lambda: "r" not in groups(gateway))


PASSWORD = "pä/ss@word:1"
HASHED = "$2b$04$G8h.l6NX15lNyc4/jVmdEu8QWKloTCUjQR4ZA69UGThALBbLbLdx6"


def test_a_pushgateway_that_asks_for_a_password_gets_it_out_of_the_url(tmp_path: Path):
    (tmp_path / "web.yml").write_text(f"basic_auth_users: {{kfit: {HASHED}}}\n")
    noted: list[str] = []
    with programs.pushgateway(f"--web.config.file={tmp_path / 'web.yml'}") as url:
        for password in ("wrong", PASSWORD):
            with_password = url.replace("//", f"//kfit:{quote(password, safe='')}@")
            pushes = pushing(with_password, note=noted.append)[1]
            pushes.conclude(last_run(), 5.0)
    assert noted == ["warning: metrics were not pushed to the Pushgateway: it answered 401"]


@contextmanager
def nobody() -> Iterator[str]:
    yield "http://127.0.0.1:9"


@contextmanager
def silent() -> Iterator[str]:
    """Takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@contextmanager
def answering(code: int) -> Iterator[str]:
    def put(self: Receiver) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(code)
        self.send_header("Location", "http://127.0.0.1:9/")
        self.end_headers()

    with listening() as (url, receiver), pytest.MonkeyPatch.context() as patch:
        patch.setattr(receiver, "do_PUT", put, raising=False)
        yield url


@pytest.mark.parametrize(
    ("where", "fault"),
    [
        (nobody, "ConnectionRefusedError: Connection refused"),
        (silent, "no answer in time"),
        (lambda: answering(400), "it answered 400"),
        (lambda: answering(307), "it answered 307"),
        (lambda: answering(503), "it answered 503"),
    ],
    ids=["nobody", "silent", "400", "307", "503"],
)
def test_a_fault_is_noted_once_in_bounded_time_and_without_the_url(where, fault):
    noted: list[str] = []
    with where() as url:
        secret = url.replace("//", "//me:s3cret@") + "/s3cret"
        progress, pushes = pushing(secret, note=noted.append)
        progress.start(epochs=1, steps=5, rows_per_step=1)
        wait_for(lambda: bool(noted))
        time.sleep(1.5)
        began = time.monotonic()
        pushes.conclude(last_run(), 2.0)
        assert time.monotonic() - began < 4
    assert noted == [f"warning: metrics were not pushed to the Pushgateway: {fault}"]


def test_the_end_is_tried_again_where_a_fault_may_pass():
    def put(self: Receiver) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.got.append((dict(self.headers), self.path.encode()))
        self.send_response(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])
        self.end_headers()

    noted: list[str] = []
    with listening() as (url, receiver), pytest.MonkeyPatch.context() as patch:
        patch.setattr(receiver, "do_PUT", put, raising=False)
        patch.setattr(receiver, "do_DELETE", put, raising=False)
        receiver.answers = [503, 200]
        pushing(url, note=noted.append)[1].conclude(last_run(), 5.0)
        paths = [path for _, path in receiver.got]
    assert len(paths) == 3
    assert paths[0] == paths[1]  # the result again
    assert paths[2] == paths[0] + b"/run/r"
    assert noted == []


@pytest.mark.parametrize("environment", [{}, {"GATEWAY": "s3cret"}, {"GATEWAY": "http://s3cret:x/"}])
def test_a_variable_without_a_url_is_noted_by_its_name(environment):
    noted: list[str] = []
    pushes = Pushgateway(Metrics(pushgateway_env="GATEWAY"), OUTPUT, "r", noted.append, environment)
    pushes.conclude(last_run(), 1.0)
    assert noted == ["warning: metrics were not pushed to the Pushgateway: GATEWAY holds no http or https URL"]


def test_a_configuration_is_written_without_the_password():
    given = Metrics(pushgateway="https://me:s3cret@push.example:9091/s3cret")
    for text in (str(given.model_dump()), given.model_dump_json(), repr(given)):
        assert "s3cret" not in text
    assert given.model_dump(mode="json")["pushgateway"] == "https://push.example:9091/…"


@pytest.mark.parametrize(
    "words", [{}, {"pushgateway": "http://x", "pushgateway_env": "X"}, {"pushgateway": "push.example:9091"}]
)
def test_one_url_is_given_and_it_is_one(words):
    with pytest.raises(ValueError, match="pushgateway"):
        Metrics(**words)

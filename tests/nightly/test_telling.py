"""Who is told when a run ends: a URL, signed and retried, and Prometheus."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from standardwebhooks import Webhook, WebhookVerificationError

from tests.nightly import runs
from tests.webhook_receiver import Receiver, listening
from trainer.config import Notify
from trainer.nightly import history, notify, production, prometheus


@pytest.fixture
def receiver() -> Iterator[tuple[str, type[Receiver]]]:
    with listening() as found:
        yield found


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
    digest = hmac.new(b"key", f"r-{result['finished']}.1234.".encode() + body, hashlib.sha256).digest()
    assert headers["webhook-signature"] == "v1," + base64.b64encode(digest).decode()


def test_a_receiver_with_the_library_of_standard_webhooks_takes_it(receiver):
    url, got = receiver
    key = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()
    environment = {"KFIT_NOTIFY_SECRET": key}
    got.answers = [500, 200]
    assert notify.post(Notify(url=url), runs.result("r"), environment=environment, deadline_s=5) is None
    (first, _), (headers, body) = got.got
    assert Webhook(key).verify(body, headers) == runs.result("r")
    assert first["webhook-id"] == headers["webhook-id"]  # the same message again
    with pytest.raises(WebhookVerificationError):
        Webhook(key).verify(body + b" ", headers)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_and_not_taken_for_a_delivery(receiver, code):
    url, got = receiver
    got.answers, got.moved_to = [code], url.replace("/hook", "/elsewhere")
    fault = notify.post(Notify(url=url), runs.result("r"), environment={}, deadline_s=5)
    assert fault == f"the receiver answered {code}: a redirect is not followed, give the URL it leads to"
    assert len(got.got) == 1


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example/s3cret words",
        "http://127.0.0.1:s3cret/x",
        "http://127.0.0.1:99999/s3cret",
        "http://s3cret@[::1/x",
        "http://127.0.0.1:9/s3cret\nmore",
        "https://s3cret.invalid/x",
        "s3cret",
        "http:///s3cret",
    ],
)
def test_no_part_of_a_url_that_cannot_be_used_is_printed(url):
    for given, environment in ((Notify(url_env="HOOK"), {"HOOK": url}), (Notify.model_construct(url=url), {})):
        fault = notify.post(given, runs.result("r"), environment=environment, deadline_s=0.5)
        assert fault
        assert "s3cret" not in fault


def test_a_key_that_cannot_be_read_is_not_printed(receiver):
    url, got = receiver
    environment = {"KFIT_NOTIFY_SECRET": "whsec_ä-s3cret"}
    fault = notify.post(Notify(url=url), runs.result("r"), environment=environment, deadline_s=0.5)
    assert fault == "KFIT_NOTIFY_SECRET begins with whsec_ and is not a key in base64"
    assert not got.got


def test_a_configuration_is_written_with_the_host_of_the_url_alone():
    url = "https://user:s3cret@hooks.example:8443/T0/s3cret?key=s3cret"
    given = Notify(url=url)
    assert given.url == url
    for text in (str(given.model_dump()), given.model_dump_json(), repr(given)):
        assert "s3cret" not in text
    assert given.model_dump(mode="json")["url"] == "https://hooks.example:8443/…"


def test_without_a_key_it_is_not_signed(receiver):
    url, got = receiver
    assert notify.post(Notify(url=url), runs.result("r"), environment={}, deadline_s=5) is None
    assert not {"X-Kfit-Signature", "webhook-signature"} & set(got.got[0][0])


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
    assert notify.is_wanted(Notify(url="https://x", on=on), runs.result("r", **changes)) is told


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Values by name and labels, as Prometheus's own parser reads them; the label `output` is taken off."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            assert sample.labels.pop("output") == 's3://models/"x"'
            found[sample.name, frozenset(sample.labels.items())] = sample.value
    return found


def test_prometheus_reads_the_last_run_and_production():
    decision = {"promoted": False, "metrics": {"auc": 0.7}, "gain": {"gain": 0.01, "low": None, "high": 0.02}}
    result = runs.result("c", decision=decision, finished="2013-03-03T00:00:00Z")
    nights = [
        history.summarize(runs.result("a", finished="2013-03-01T00:00:00Z")),
        history.summarize(runs.result("b", finished="2013-03-02T00:00:00Z", status="skipped")),
        history.summarize(runs.result("c", finished="2013-03-03T00:00:00Z", status="failed")),
        history.RunSummary("d", "unfinished"),
    ]
    seen = production.Production("a", 3, "me", "2013-03-01T00:00:00Z", "", "promote", None, ())
    text = generate_latest(prometheus.last_run('s3://models/"x"', result, nights, seen)).decode()
    assert text.startswith(
        "# HELP kfit_last_run_finished_seconds When the last run ended.\n# TYPE kfit_last_run_finished"
    )
    found = samples(text)

    def value(name: str, **labels: str) -> float | None:
        return found.get((name, frozenset(labels.items())))

    assert value("kfit_last_run_finished_seconds") == 1362268800
    assert value("kfit_last_run_status", status="succeeded") == 1
    assert value("kfit_last_run_status", status="failed") == 0
    assert value("kfit_last_run_duration_seconds") == 20
    assert value("kfit_last_run_metric", split="holdout", metric="auc") == 0.7
    assert value("kfit_last_run_gain", bound="gain") == 0.01
    assert value("kfit_last_run_gain", bound="low") is None
    assert value("kfit_last_trained_seconds") == 1362096000
    assert value("kfit_nights_without_training") == 2
    assert value("kfit_production_promoted_seconds") == 1362096000
    assert value("kfit_production_info", run="a", generation="3") == 1


def test_without_production_there_is_no_sample_of_it():
    found = prometheus.last_run("o", runs.result("r"), [], None).collect()
    assert [family.name for family in found if "production" in family.name] == []


def test_a_url_and_a_variable_with_it_are_one_too_many():
    for words in ({}, {"url": "https://x", "url_env": "X"}, {"url": "ftp://x"}):
        with pytest.raises(ValueError, match="url"):
            Notify(**words)

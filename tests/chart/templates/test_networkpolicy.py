"""templates/networkpolicy.yaml."""

from __future__ import annotations

import pytest

from tests.chart.charts import JOB, NIGHTLY, render, values

DNS = {"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]}
STORE = {"ports": [{"protocol": "TCP", "port": 443}]}


def test_a_lone_trainer_speaks_to_names_and_storage_and_nobody_calls_it():
    job = render(JOB)
    assert job.objects["NetworkPolicy"]["spec"] == {
        "podSelector": {"matchLabels": {"kfit.dev/job": job.name}},
        "policyTypes": ["Ingress", "Egress"],
        "egress": [DNS, STORE],
    }


def test_workers_speak_to_the_workers_of_their_job_alone():
    job = render(values(nodes=2))
    peers = [{"podSelector": {"matchLabels": {"kfit.dev/job": job.name}}}]
    spec = job.objects["NetworkPolicy"]["spec"]
    assert spec["ingress"] == [{"from": peers}]
    assert spec["egress"] == [DNS, STORE, {"to": peers}]


def test_a_store_can_have_ports_and_networks_of_its_own():
    policy = {"storagePorts": [443, 8333], "storageCidrs": ["10.0.0.0/8", "fd00::/8"], "dnsPorts": [53, 8053]}
    dns, store = render(values(networkPolicy=policy)).objects["NetworkPolicy"]["spec"]["egress"]
    assert store == {
        "ports": [{"protocol": "TCP", "port": 443}, {"protocol": "TCP", "port": 8333}],
        "to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}, {"ipBlock": {"cidr": "fd00::/8"}}],
    }
    assert [p["port"] for p in dns["ports"]] == [53, 53, 8053, 8053]


def test_without_storage_ports_nothing_but_names_is_reached():
    policy = render(values(networkPolicy={"storagePorts": []})).objects["NetworkPolicy"]
    assert policy["spec"]["egress"] == [DNS]


def test_more_rules_are_added():
    rule = {"to": [{"ipBlock": {"cidr": "169.254.169.254/32"}}], "ports": [{"port": 80}]}
    policy = render(values(networkPolicy={"extraEgress": [rule]})).objects["NetworkPolicy"]
    assert policy["spec"]["egress"] == [DNS, STORE, rule]


def test_it_can_be_switched_off():
    assert "NetworkPolicy" not in render(values(networkPolicy={"enabled": False})).objects


def test_it_holds_for_every_run_of_a_schedule():
    job = render(values(NIGHTLY))
    policy = job.objects["NetworkPolicy"]
    assert policy["metadata"]["name"] == "flights"
    selector = policy["spec"]["podSelector"]["matchLabels"]
    assert selector == {"kfit.dev/cronjob": "flights"}
    assert selector.items() <= job.job["template"]["metadata"]["labels"].items()


def test_it_changes_in_place():
    """What pods may reach is not what they do: the Job keeps its name."""
    assert render(values(networkPolicy={"storagePorts": [8333]})).name == render(JOB).name


@pytest.mark.parametrize(
    ("url", "port"),
    [
        ("http://push.monitoring:9091", 9091),
        ("http://me:12@push.monitoring:9091/a/b:7", 9091),
        ("http://push.monitoring/a", 80),
        ("https://[fd00::1]:8443/", 8443),
        ("https://[fd00::9091]/", 443),
    ],
)
def test_the_pushgateway_of_the_job_file_is_reached(url, port):
    policy = render(values(run={"metrics": {"pushgateway": url}})).objects["NetworkPolicy"]
    assert policy["spec"]["egress"] == [DNS, STORE, {"ports": [{"protocol": "TCP", "port": port}]}]

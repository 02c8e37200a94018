"""The verbs, from words to what is in the cluster and on stdout; the cluster is one in memory."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from types import SimpleNamespace

import click
import pytest
import yaml
from click.testing import CliRunner

from k8s.api.kinds import KINDS
from k8s.cli import GROUPS, VERBS, cli
from k8s.commands.options import DURATION, Target
from k8s.commands.watch.list import _PHASES
from k8s.errors import AccessError, NotFound
from k8s.status.job_state import Phase
from tests.k8s.namespace_contents import JOBS, OVER, PODS, failed_job, ours, put
from tests.k8s.objects import RUNNING, event, job, terminated


def logged(monkeypatch, text):
    """Gives every pod the log that `text` says for its name; the options it is asked with are in the list."""
    asked = []

    def log(_, name, **options):
        asked.append(options)
        return iter([b"", text(name)])

    monkeypatch.setattr("k8s.api.client.Cluster.log", log)
    return asked


def test_every_verb_has_its_help():
    assert list(cli.commands) == []  # nothing is imported before it is asked for
    for verb, where in VERBS.items():
        module, _, function = where.partition(":")
        assert isinstance(getattr(import_module(module), function), click.Command), verb
        done = CliRunner().invoke(cli, [verb, "--help"])
        assert done.exit_code == 0, verb
        assert done.output.startswith("Usage: ")


def test_without_a_verb_it_tells_what_there_is():
    done = CliRunner().invoke(cli, [])
    assert done.exit_code == 0
    assert all(f"  {verb}" in done.output for verb in VERBS)


def test_no_verb_imports_what_is_heavy():
    code = (
        "import sys; from importlib import import_module; from k8s.cli import VERBS;"
        "[import_module(where.partition(':')[0]) for where in VERBS.values()];"
        "import k8s.api.client, k8s.follow.loop, k8s.output.tables, k8s.follow.progress_bar;"
        "import k8s.actions.apply, k8s.chart.render_many;"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert {"tensorflow", "keras", "kubernetes", "pyarrow", "numpy", "fsspec"} & set(done.stdout.split()) == set()


def test_flags_of_the_cluster_stand_before_the_verb_or_behind_it(server, kfit):
    kfit("-n", "one", "list")
    kfit("list", "-n", "two")
    kfit("-n", "one", "list", "-n", "three")
    spaces = [path.split("/namespaces/")[1].split("/")[0] for _, path in server.requests if "/jobs" in path]
    assert spaces == ["one", "two", "three"]


def test_list(server, kfit):
    put(server, job("train-old00000"), failed_job(uid="2"), ours(phase="Failed", state=terminated(65)))
    server.behind.objects[f"{JOBS}/train-1a2b3c4d"]["metadata"]["creationTimestamp"] = "2026-01-02T00:00:00Z"
    rows = kfit("list").splitlines()
    assert rows[0].split() == ["NAME", "PHASE", "EXIT", "RESTARTS", "TIME", "AGE", "WHY"]
    assert [row.split()[:3] for row in rows[1:]] == [
        ["train-1a2b3c4d", "Failed", "65"],
        ["train-old00000", "Pending", "–"],
    ]
    assert kfit("list", "-o", "name") == "job.batch/train-1a2b3c4d\njob.batch/train-old00000\n"
    assert [r["name"] for r in json.loads(kfit("list", "--phase", "failed", "-o", "json"))["items"]] == [
        "train-1a2b3c4d"
    ]
    assert yaml.safe_load(kfit("list", "-o", "yaml"))["items"][0]["exit_code"] == 65
    assert "r/trainer:1" in kfit("list", "-o", "wide")


def test_status_has_what_scripts_read(server, kfit, monkeypatch):
    put(server, job(startTime="2026-01-01T00:00:00Z"), ours(state=RUNNING), event("SuccessfulCreate", "Created pod: a"))
    step = '{"kfit": "step", "epoch": 2, "epochs": 9, "step": 5, "steps": 10, "eta_s": 60, "logs": {"loss": 0.5}}'
    saved = '{"kfit": "checkpoint", "step": 15}'
    log = f"2026-01-01T00:01:00Z {saved}\n2026-01-01T00:01:01Z {step}\n".encode()
    logged(monkeypatch, lambda _: log)
    shown = json.loads(kfit("status", "train-1a2b3c4d", "-o", "json"))
    expected = {
        "name": "train-1a2b3c4d", "run": "train-1a2b3c4d", "phase": "Running", "epoch": 2, "epochs": 9, "step": 5,
        "steps": 10, "metrics": {"loss": 0.5}, "restarts": 0,
    }  # fmt: skip
    assert {key: shown[key] for key in expected} == expected
    assert shown["checkpoint"]["step"] == 15
    screen = kfit("status", "train")  # the job file's name means its newest run
    assert "epoch       2/9   step 5/10" in screen
    assert "output      s3://models/train/runs/train-1a2b3c4d" in screen


def test_why_tells_the_error_and_what_mends_it(server, kfit, tmp_path):
    message = "error: s3://lake/a: no column\n  name another\n"
    put(server, failed_job(), ours(phase="Failed", state=terminated(65, message=message)))
    told = kfit("why", "job.batch/train-1a2b3c4d", "--output-uri", str(tmp_path))
    assert "train-1a2b3c4d  Failed  exit 65: data breaks its contract\n  s3://lake/a: no column\n" in told
    assert "fix: fix the data" in told


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ({"status": "failed", "exit_code": 65, "reason": "a.parquet: truncated"}, ["exit 65", "a.parquet: truncated"]),
        ({"status": "preempted", "exit_code": 75, "reason": "SIGTERM"}, ["exit 75", "kfit resume gone-1"]),
        ({"status": "succeeded", "exit_code": 0, "ledger_s": {"fit": 100, "feed_wait": 40}}, ["exit 0", "40%"]),
    ],
)
def test_why_works_from_storage_when_the_job_is_gone(kfit, tmp_path, result, words):
    folder = tmp_path / "out" / "runs" / "gone-1"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "result.json").write_text(json.dumps(result))
    told = kfit("why", "gone-1", "--output-uri", str(tmp_path / "out"))
    assert all(word in told for word in words), told


def test_why_finds_storage_by_another_job_of_the_file(server, kfit, tmp_path):
    folder = tmp_path / "runs" / "train-00000000"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    put(server, job(annotations={"kfit.dev/output-uri": str(tmp_path)}))
    assert "left no result" in kfit("why", "train-00000000")


def test_why_of_nothing_is_not_found(kfit):
    with pytest.raises(NotFound, match="neither its Job is there"):
        kfit("why", "never-was")


def test_cancel_takes_what_kubectl_made_too_and_looks_up_all_names_first(server, kfit):
    put(server, job(), job("train-other000", uid="2"))
    labels = {"app.kubernetes.io/part-of": "kfit", "kfit.dev/job": "train-1a2b3c4d"}
    for kind, group in (("NetworkPolicy", "networking.k8s.io"), ("PodDisruptionBudget", "policy")):
        made = {"kind": kind, "metadata": {"name": "train-1a2b3c4d", "labels": labels}}
        plural = KINDS[kind].plural
        server.behind.objects[f"/apis/{group}/v1/namespaces/ml/{plural}/train-1a2b3c4d"] = made
    with pytest.raises(NotFound):
        kfit("cancel", "train-1a2b3c4d", "no-such-run")
    assert len(server.behind.objects) == 4
    assert kfit("cancel", "train-1a2b3c4d") == "job.batch/train-1a2b3c4d cancelled\n"
    assert list(server.behind.objects) == [f"{JOBS}/train-other000"]


def test_cancel_takes_the_name_of_a_job_file_and_a_dry_run_changes_nothing(server, kfit):
    put(server, job("train-old00000"), job(uid="2"))
    server.behind.objects[f"{JOBS}/train-1a2b3c4d"]["metadata"]["creationTimestamp"] = "2026-01-02T00:00:00Z"
    assert kfit("cancel", "train", "--dry-run") == "job.batch/train-1a2b3c4d would be cancelled (dry run)\n"
    assert {method for method, _ in server.requests} == {"GET"}
    assert kfit("cancel", "train") == "job.batch/train-1a2b3c4d cancelled\n"
    assert list(server.behind.objects) == [f"{JOBS}/train-old00000"]


@pytest.mark.parametrize(("answer", "left"), [("n\n", 2), ("y\n", 0)])
def test_cancel_of_several_asks_on_a_terminal(server, kubeconfig, monkeypatch, answer, left):
    put(server, job(), job("train-other000", uid="2"))
    monkeypatch.setattr("k8s.commands.options._is_interactive", lambda: True)
    words = ["--kubeconfig", kubeconfig, "cancel", "train-1a2b3c4d", "train-other000"]
    done = CliRunner().invoke(cli, words, input=answer)
    assert "Cancel 2 runs: train-1a2b3c4d, train-other000?" in done.output
    assert len(server.behind.objects) == left


def test_logs_leave_the_events_out_unless_they_are_asked_for(server, kfit, monkeypatch):
    put(server, job(), ours(state=RUNNING))
    log = b'2026-01-01T00:00:01Z hello\n2026-01-01T00:00:02Z {"kfit": "stop"}\n'
    logged(monkeypatch, lambda _: log)
    assert kfit("logs", "train-1a2b3c4d") == "hello\n"
    assert kfit("logs", "train-1a2b3c4d", "--raw") == 'hello\n{"kfit": "stop"}\n'
    with pytest.raises(NotFound, match="no pod 3"):
        kfit("logs", "train-1a2b3c4d", "--pod", "3")


def test_logs_are_of_the_newest_pod_unless_the_replaced_ones_are_asked_for(server, kfit, monkeypatch):
    put(server, job(), ours("train-1a2b3c4d-a", phase="Failed", state=terminated(75)), ours(state=RUNNING))
    server.behind.objects[f"{PODS}/train-1a2b3c4d-x"]["metadata"]["creationTimestamp"] = "2026-01-02T00:00:00Z"
    asked = logged(monkeypatch, lambda name: f"2026-01-01T00:00:01Z from {name[-1]}\n".encode())
    assert kfit("logs", "train") == "from x\n"
    assert kfit("logs", "train", "--all-pods") == "from a\nfrom x\n"
    assert kfit("logs", "train", "--previous") == "from a\n"
    assert kfit("logs", "train", "--timestamps", "--tail", "3") == "2026-01-01T00:00:01Z from x\n"
    assert asked[-1] == {"follow": False, "tail": 3, "since": ""}
    kfit("logs", "train", "--since", "1h30m", "--tail", "-1")
    assert asked[-1]["tail"] is None
    assert asked[-1]["since"].endswith("Z")


def test_previous_says_where_a_pod_that_is_gone_left_its_lines(server, kfit):
    put(server, job(), ours(state=RUNNING))
    with pytest.raises(NotFound, match="no pod before the newest") as caught:
        kfit("logs", "train", "--previous")
    assert "left its lines in s3://models/train/runs/train-1a2b3c4d/log.txt" in caught.value.remedy


def test_every_flag_of_logs_goes_with_follow(server, kfit, monkeypatch):
    put(server, job(conditions=[{"type": "Complete"}]))
    put(server, ours("train-1a2b3c4d-a", phase="Failed", state=terminated(75)))
    put(server, ours(phase="Succeeded", state=terminated(0)))
    server.behind.objects[f"{PODS}/train-1a2b3c4d-x"]["metadata"]["creationTimestamp"] = "2026-01-02T00:00:00Z"
    lines = '2026-01-01T00:00:01Z from {}\n2026-01-01T00:00:02Z {{"kfit": 1}}\n'
    asked = logged(monkeypatch, lambda name: lines.format(name[-1]).encode())
    flags = ["--since", "1h", "--timestamps", "--tail", "5", "--raw"]
    printed = kfit("logs", "-f", "train", "--all-pods", *flags).splitlines()
    expected = ["2026-01-01T00:00:01Z from a", '2026-01-01T00:00:02Z {"kfit": 1}']
    assert sorted(printed) == sorted([*expected, *(line.replace("from a", "from x") for line in expected)])
    assert all(options["tail"] == 5 and options["since"] for options in asked)
    assert kfit("logs", "-f", "train").splitlines() == ["from x"]


def test_a_run_that_is_not_there_is_told_with_where_to_look(kfit):
    for verb in ("status", "logs", "wait"):
        with pytest.raises(NotFound, match="no run 'nope'") as caught:
            kfit(verb, "nope")
        assert "kfit list" in caught.value.remedy


def test_wrong_contexts_are_told(kfit):
    with pytest.raises(AccessError, match="no context 'prod'"):
        kfit("list", "--context", "prod")


def test_names_of_runs_are_completed(server, kubeconfig):
    put(server, job(), job("other-00000000", uid="2"))
    from k8s.commands.arguments import complete_runs

    with click.Context(cli) as top, click.Context(cli.get_command(top, "status"), parent=top) as context:
        context.params = {"kubeconfig": kubeconfig}
        assert complete_runs(context, context.command.params[0], "tr") == ["train-1a2b3c4d"]
        context.params = {"kubeconfig": "/nowhere"}
        assert complete_runs(context, context.command.params[0], "") == []


def test_kubectl_completes_the_plugin(server, kubeconfig):
    put(server, job())
    from k8s.commands.cluster.completion import kubectl

    assert [line.partition("\t")[0] for line in kubectl(cli, ["st"])] == ["status", ":4"]
    assert list(kubectl(cli, ["--kubeconfig", kubeconfig, "status", "tr"])) == ["train-1a2b3c4d", ":4"]
    assert list(kubectl(cli, ["submit", "jo"])) == [":0"]  # a file


@pytest.mark.parametrize(
    ("text", "found"), [("90", 90), ("90s", 90), ("1.5m", 90), ("2h", 7200), ("1h30m", 5400), ("1d2h3m4s", 93784)]
)
def test_durations_are_read(text, found):
    assert DURATION.convert(text, None, None) == found


@pytest.mark.parametrize("text", ["soon", "", "-5m", "5x", "1h 30m", "h", "1e3", "nan", "inf"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(click.BadParameter, match="write it like 90s"):
        DURATION.convert(text, None, None)


def test_every_verb_shows_two_examples_that_name_it():
    for verb in [*VERBS, "schedule list", "schedule apply", "schedule suspend", "schedule resume", "schedule delete"]:
        text = CliRunner().invoke(cli, [*verb.split(), "--help"], terminal_width=200).output
        shown = [line for line in text.partition("Examples:")[2].splitlines() if f"kfit {verb}" in line]
        assert len(shown) >= 2, (verb, text)


def test_help_lists_the_verbs_by_subject():
    lines = CliRunner().invoke(cli, ["--help"]).output.splitlines()
    assert [line.rstrip(":") for line in lines if line.rstrip(":") in GROUPS] == list(GROUPS)


def test_the_phases_of_list_are_those_of_a_job(kfit):
    assert tuple(phase.value for phase in Phase) == _PHASES
    kfit("list", "--phase", "finished", code=2)


def test_list_takes_labels_and_refuses_a_name_that_is_none(server, kfit):
    put(server, job(labels={"team": "a"}), job("other-00000000", uid="2"))
    assert kfit("list", "-l", "team=a", "-o", "name") == "job.batch/train-1a2b3c4d\n"
    server.requests.clear()
    for name in ("a,b", "", "x=y", "../a"):
        kfit("list", name, code=2)
    assert server.requests == []


def test_list_prints_again_what_changes(server, kfit, monkeypatch):
    put(server, job(), job("other-00000000", uid="2"))
    pauses = []

    def changes(_):
        pauses.append(1)
        if len(pauses) == 3:
            raise KeyboardInterrupt
        server.behind.objects[f"{JOBS}/train-1a2b3c4d"]["status"] = {"conditions": [{"status": "True", **OVER[0]}]}

    monkeypatch.setattr("k8s.commands.watch.list.time", SimpleNamespace(sleep=changes))
    printed = kfit("list", "-w", "-o", "name", code=1).splitlines()
    assert sorted(printed[:2]) == ["job.batch/other-00000000", "job.batch/train-1a2b3c4d"]
    assert printed[2:] == ["job.batch/train-1a2b3c4d"]


def test_version_tells_client_chart_and_server(server, kfit):
    assert json.loads(kfit("version", "-o", "json"))["server"] == "v1.34.0"
    server.requests.clear()
    assert set(json.loads(kfit("version", "--client", "-o", "json"))) == {"client", "chart", "helm"}
    assert server.requests == []


def test_kubectls_flags_of_the_request_reach_it(server, kfit, kubeconfig):
    words = ["--kubeconfig", kubeconfig, "--as", "jane", "list", "--as-group", "dev", "--request-timeout", "9s", "-v"]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 0, done.output
    assert "/jobs" in done.stderr
    assert Target(as_user="jane", as_groups=("dev",)).words() == " --as jane --as-group dev"

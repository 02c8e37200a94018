"""`.ci/cluster`: what keeps a machine from having a cluster is said and skipped, what is ours fails, and nothing stays.

The tools beside the repository and the programs on PATH are stand-ins here, which fail where a test says so.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUILDAH = """echo "buildah $*" >>"$CALLS"
[[ "$*" == *kfit-probe* && -n ${NO_CHROOT:-} ]] && { echo "chroot is not permitted"; exit 1; }
[[ "$*" == *trainer:dev* && -n ${BAD_DOCKERFILE:-} ]] && { echo "$BAD_DOCKERFILE"; exit 1; }
[[ "$*" == *trainer:dev* && -n ${SLOW:-} ]] && exit 124
exit 0"""
CLUSTER = """echo "cluster $*" >>"$CALLS"
case $1 in
  status) [[ -n ${RUNNING:-} ]] || { grep -q 'cluster up' "$CALLS" && echo "kubelet  ${KUBELET:-runs}"; } ;;
  up) (($(grep -c 'cluster up' "$CALLS") > ${FAILED_STARTS:-0})) || { echo "etcd did not come up"; exit 1; } ;;
  env) echo "export KUBECONFIG=somewhere" ;;
esac"""
KUBECTL = """[[ "$*" != *pod/probe-${LACKS:-nothing}* ]] || { echo "timed out waiting for probe-$LACKS"; exit 1; }"""
MAKEFILE = """test-cluster:
\t@echo "cases [$(CASES)] policies=$$KFIT_TEST_POLICIES until=$$KFIT_TEST_UNTIL" >>$(CALLS)
\t@mkdir -p .pytest_cache/v/cache
\t@printf '  "tests/%s": true,\\n' feed/a.py::b 'cluster/test_a.py::test_b[c]' >.pytest_cache/v/cache/lastfailed
\t@test $$(grep -c ^cases $(CALLS)) -gt $(FAILED_TRIES)
"""


@pytest.fixture
def step(tmp_path: Path):
    """Runs the step with stand-ins that fail as told; gives its exit code, its output and what it called."""
    repository = tmp_path / "repository"
    (repository / ".ci").mkdir(parents=True)
    shutil.copy(ROOT / ".ci/cluster", repository / ".ci")
    shutil.copy(ROOT / "Dockerfile", repository)
    (repository / "Makefile").write_text(MAKEFILE)
    programs = {
        "bin/buildah": BUILDAH,
        "bin/go": "",
        "bin/id": "echo 0",
        "bin/kubectl": KUBECTL,
        "shared/tools/base-image": '[[ -z ${NO_BASE:-} ]] || { echo "no debootstrap"; exit 1; }',
        "shared/tools/cluster/cluster": CLUSTER,
    }
    for name, code in programs.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/bash\n{code}\n")
        path.chmod(0o755)

    def run(seconds: int = 5000, **wrong: str) -> tuple[int, str, list[str]]:
        calls = tmp_path / "calls"
        calls.write_text("")
        own = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "CALLS": str(calls), "KFIT_CI_PAUSE_S": "0"}
        done = subprocess.run(
            ["bash", ".ci/cluster", str(seconds)], cwd=repository, capture_output=True, text=True, check=False,
            env={**os.environ, **own, "FAILED_TRIES": "0", **wrong},
        )  # fmt: skip
        made = [line.removeprefix("cluster ") for line in calls.read_text().splitlines() if "buildah" not in line]
        return done.returncode, done.stdout, made

    return run


def test_the_cases_run_on_a_cluster_with_kueue_and_policies_which_is_taken_down(step):
    code, _, calls = step()
    cases = calls.pop(-2)
    assert code == 0
    assert calls == [
        *("status", "up", "kueue", "policies", "load localhost/kfit-probe:dev", "load localhost/trainer:dev"),
        *("env", "down"),
    ]
    assert re.fullmatch(r"cases \[\] policies=1 until=\d+", cases)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"NO_BASE": "1"}, "the base image cannot be built\n   | no debootstrap"),
        ({"NO_CHROOT": "1"}, "no image can be built on this machine\n   | chroot is not permitted"),
        ({"RUNNING": "1"}, "a cluster runs on this machine already, and is not ours"),
        ({"SLOW": "1"}, "buildah takes too long on this machine"),
        ({"FAILED_STARTS": "9"}, "the cluster does not start\n   | etcd did not come up"),
        ({"LACKS": "run"}, "pods do not run on this machine's cluster\n   | timed out waiting for probe-run"),
        ({"LACKS": "memory"}, "pods are not held to their memory on this machine's cluster\n   | timed out"),
        (
            {"BAD_DOCKERFILE": "pip: Read timed out."},
            "the image cannot be built on this machine\n   | pip: Read timed out.",
        ),
    ],
)
def test_what_the_machine_cannot_do_is_said_and_skipped(step, wrong, said):
    code, output, calls = step(**wrong)
    assert (code, f"   skipped: {said}" in output) == (0, True), output
    assert not [call for call in calls if call.startswith("cases")]
    assert calls[-1] == "down" if "up" in calls else calls == ["status"]


def test_without_time_for_the_cases_nothing_begins(step):
    code, output, calls = step(seconds=800)
    assert (code, calls) == (0, ["status"])
    assert "no time is left" in output


def test_a_start_that_fails_half_way_is_tried_again_from_nothing(step):
    code, _, calls = step(FAILED_STARTS="1")
    assert code == 0
    assert calls[:5] == ["status", "up", "down", "up", "kueue"]


def test_an_image_that_does_not_build_fails(step):
    code, output, calls = step(BAD_DOCKERFILE="RUN failed")
    assert (code, calls) == (1, ["status"])
    assert "RUN failed" in output


def test_cases_that_fail_once_are_run_again_and_fail_for_good_the_second_time(step):
    code, output, calls = step(FAILED_TRIES="1")
    assert code == 0
    assert calls[-3] == "status"
    assert calls[-2] == "cases [--last-failed --last-failed-no-failures none] policies=1 until="
    assert "failed once, and passed alone:\n   tests/cluster/test_a.py::test_b[c]\n" in output
    assert "tests/feed" not in output
    code, output, calls = step(FAILED_TRIES="2")
    assert code != 0
    assert "passed alone" not in output
    assert calls[-1] == "down"


def test_cases_that_fail_on_a_cluster_that_did_not_last_are_not_ours(step):
    code, output, calls = step(FAILED_TRIES="1", KUBELET="ended")
    assert (code, "   skipped: the cluster did not last" in output) == (0, True), output
    assert len([call for call in calls if call.startswith("cases")]) == 1

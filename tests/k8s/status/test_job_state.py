"""What a Job is doing, read from what the API says of it and its pods."""

from __future__ import annotations

import pytest

from k8s.errors import WaitCode
from k8s.status.job_state import Phase, Seen, read
from tests.k8s.objects import RUNNING, disrupted, event, job, pod, terminated, unplaced, waiting


def state_of(seen_job, *pods, events=()):
    return read(Seen(seen_job, pods, events))


def test_a_complete_job_has_succeeded():
    state = state_of(job(conditions=[{"type": "Complete"}]), pod(phase="Succeeded", state=terminated(0)))
    assert (state.phase, state.exit_code, state.restarts) == (Phase.SUCCEEDED, 0, 0)


def test_a_job_that_is_gone_was_cancelled():
    assert (read(Seen(None)).phase, read(Seen(None)).exit_code) == (Phase.CANCELLED, WaitCode.CANCELLED)


@pytest.mark.parametrize(
    ("code", "words", "mend"),
    [
        (64, "configuration is wrong", "kfit check"),
        (65, "data breaks its contract", "kfit check"),
    ],
)
def test_the_policys_message_names_the_code(code, words, mend):
    message = f"Container trainer for pod ml/train-x failed with exit code {code} matching FailJob rule at index 0"
    failed = {"type": "Failed", "reason": "PodFailurePolicy", "message": message}
    state = state_of(job(conditions=[failed]))  # the pod is gone already
    assert (state.phase, state.exit_code) == (Phase.FAILED, code)
    assert state.why == f"exit {code}: {words}"
    assert mend in state.remedy


@pytest.mark.parametrize("code", [69, 70, 71, 139])
def test_the_last_pod_tells_the_code_when_retries_are_used_up(code):
    failed = {"type": "Failed", "reason": "BackoffLimitExceeded", "message": "Job has reached the backoff limit"}
    ended = [pod(f"p{n}", phase="Failed", state=terminated(code, at=f"2026-01-01T00:0{n}:00Z")) for n in range(3)]
    state = state_of(job(conditions=[failed]), *ended)
    assert state.exit_code == code
    assert "tried 3 times" in state.why


def test_a_run_that_stalled_is_told_with_where_its_stacks_are():
    failed = {"type": "Failed", "reason": "BackoffLimitExceeded"}
    state = state_of(job(conditions=[failed]), pod(phase="Failed", state=terminated(71)))
    assert (state.exit_code, state.why) == (71, "exit 71: no step was finished for run.fit.stall")
    assert "has the stacks of all threads; raise run.fit.stall for slower steps" in state.remedy


def test_preemption_before_the_fault_is_not_the_fault():
    failed = {"type": "Failed", "reason": "BackoffLimitExceeded"}
    first = pod("a", phase="Failed", state=terminated(70, at="2026-01-01T00:01:00Z"))
    last = pod("b", phase="Failed", state=terminated(75, at="2026-01-01T00:02:00Z"), conditions=disrupted())
    assert state_of(job(conditions=[failed]), first, last).exit_code == 70


def test_out_of_memory_is_told_with_what_mends_it():
    failed = {"type": "Failed", "reason": "BackoffLimitExceeded"}
    state = state_of(job(conditions=[failed]), pod(phase="Failed", state=terminated(137, reason="OOMKilled")))
    assert state.exit_code == 137
    assert "out of memory" in state.why
    assert "resources.memory" in state.remedy


def test_the_trainers_own_error_is_kept():
    failed = {"type": "Failed", "reason": "PodFailurePolicy", "message": "failed with exit code 65 matching"}
    log = '{"kfit": "stop"}\nTraceback\nerror: s3://lake/a.parquet: no column \'late\'\n  name another label\n'
    state = state_of(job(conditions=[failed]), pod(phase="Failed", state=terminated(65, message=log)))
    assert state.error == "s3://lake/a.parquet: no column 'late'\n  name another label"


def test_a_termination_message_of_json_is_read_too():
    failed = {"type": "Failed", "reason": "PodFailurePolicy", "message": "failed with exit code 65 matching"}
    said = '{"exit_code": 65, "reason": "no column", "status": "failed", "run": "r"}'
    assert (
        state_of(job(conditions=[failed]), pod(phase="Failed", state=terminated(65, message=said))).error == "no column"
    )


def test_a_deadline_is_preemption_where_a_pod_ran_and_never_started_where_none_did():
    late = job(conditions=[{"type": "Failed", "reason": "DeadlineExceeded", "message": "Job was active longer"}])
    ran = state_of(late, events=[event("Started", about="p")])
    assert (ran.exit_code, "kfit resume" in ran.remedy) == (75, True)
    message = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu. preemption: none"
    never = state_of(late, events=[event("FailedScheduling", message, about="p")])
    assert never.exit_code == WaitCode.NEVER_STARTED
    assert "3 of 3 too little nvidia.com/gpu" in never.why


def test_no_node_fits_names_the_resource_and_how_much_was_asked():
    message = (
        "0/4 nodes are available: 1 node(s) had untolerated taint {gpu: only}, 3 Insufficient nvidia.com/gpu. "
        "preemption: 0/4 nodes are available: 4 Preemption is not helpful for scheduling."
    )
    state = state_of(job(), pod(phase="Pending", conditions=unplaced(message)))
    assert state.phase is Phase.PENDING
    assert state.why == (
        "no node fits: 1 node(s) had untolerated taint {gpu: only}; 3 of 4 too little nvidia.com/gpu "
        "(the pod asks for 3 nvidia.com/gpu)"
    )
    assert "resources.gpus" in state.remedy


def test_the_reason_is_the_same_while_only_its_numbers_change():
    one, two = (
        state_of(job(), pod(phase="Pending", conditions=unplaced(f"0/{n} nodes are available: {n} Insufficient cpu.")))
        for n in (3, 4)
    )
    assert one.why != two.why
    assert one.key == two.key


@pytest.mark.parametrize(
    ("message", "words", "mend"),
    [
        ('code = NotFound desc = failed to pull "r/trainer:1": not found', "no such image", "image.repository"),
        ("failed to authorize: 401 Unauthorized", "requires credentials", "imagePullSecrets"),
        ('Back-off pulling image "r/trainer:1": ErrImagePull: no route to host', "no route", "reach the registry"),
    ],
)  # fmt: skip
def test_an_image_that_cannot_be_pulled_says_why(message, words, mend):
    reasons = [
        state_of(job(), pod(phase="Pending", state=waiting(r, message))) for r in ("ErrImagePull", "ImagePullBackOff")
    ]
    assert all("image r/trainer:1 cannot be pulled" in s.why and words in s.why for s in reasons)
    assert reasons[0].key == reasons[1].key  # the two take turns
    assert mend in reasons[0].remedy


def test_a_secret_that_is_missing_is_named():
    message = 'secret "s3" not found'
    state = state_of(job(), pod(phase="Pending", state=waiting("CreateContainerConfigError", message)))
    assert message in state.why
    assert state.remedy == "kubectl create secret generic s3"


def test_a_volume_that_does_not_mount_is_told_from_the_pods_events():
    mount = event("FailedMount", 'configmap "train" not found', about="train-1a2b3c4d-x")
    state = state_of(job(), pod(phase="Pending", state=waiting("ContainerCreating")), events=[mount])
    assert "a volume cannot be mounted" in state.why


def test_a_quota_is_told_in_numbers():
    message = (
        'Error creating: pods "train-1a2b3c4d-abc" is forbidden: exceeded quota: team, '
        "requested: limits.cpu=4, used: limits.cpu=7, limited: limits.cpu=8"
    )
    state = state_of(job(), events=[event("FailedCreate", message)])
    assert state.why == "quota team is used up: requested limits.cpu=4; used limits.cpu=7 of limits.cpu=8"
    assert state.remedy.startswith("kubectl describe quota team")


def test_a_refusal_is_over_when_a_pod_was_made_after_it():
    refused = event("FailedCreate", "exceeded quota: q, requested: a, used: b, limited: c", at="2026-01-01T00:00:01Z")
    made = event("SuccessfulCreate", "Created pod: p", at="2026-01-01T00:00:09Z")
    assert "quota" not in state_of(job(), events=[refused, made]).why


def test_pod_security_and_service_accounts_are_named():
    secure = event("FailedCreate", 'Error creating: pods "p" is forbidden: violates PodSecurity "restricted:latest"')
    assert "violates PodSecurity" in state_of(job(), events=[secure]).why
    account = event("FailedCreate", 'Error creating: error looking up: serviceaccount "trainer" not found')
    assert "kubectl create serviceaccount trainer" in state_of(job(), events=[account]).remedy


def test_a_suspended_job_says_who_holds_it():
    held = job(spec={"suspend": True})
    held["metadata"]["namespace"] = "ml"
    suspended = state_of(held)
    assert suspended.remedy.startswith("kubectl -n ml patch job train-1a2b3c4d ")
    assert (suspended.phase, suspended.why) == (Phase.SUSPENDED, "no pod starts until it is resumed")
    queued = job(spec={"suspend": True}, labels={"kueue.x-k8s.io/queue-name": "team"})
    state = state_of(queued)
    assert (state.phase, state.why) == (Phase.QUEUED, "waits in queue team")


def test_a_running_pod_makes_it_run():
    state = state_of(job(), pod(state=RUNNING))
    assert (state.phase, state.why, state.current) == (Phase.RUNNING, "", ("train-1a2b3c4d-x",))


def test_an_evicted_pod_and_its_replacement_are_one_restart():
    gone = pod("a", phase="Failed", state=terminated(75), conditions=disrupted())
    state = state_of(job(), gone, pod("b", state=RUNNING))
    assert (state.phase, state.restarts) == (Phase.RUNNING, 1)
    assert state.ended[0].cause == "evicted; exit 75: preempted; a checkpoint is committed"


def test_restarts_count_pods_that_are_gone():
    made = [event("SuccessfulCreate", f"Created pod: {n}", at=f"2026-01-01T00:00:0{n}Z") for n in range(3)]
    assert state_of(job(), pod("2", state=RUNNING), events=made).restarts == 2


def test_one_of_several_pods_that_waits_makes_the_job_wait():
    two = job(spec={"parallelism": 2, "completions": 2})
    state = state_of(
        two,
        pod("a", state=RUNNING, index=0),
        pod("b", phase="Pending", index=1, conditions=unplaced("0/2 nodes are available: 2 Insufficient cpu.")),
    )
    assert state.phase is Phase.PENDING
    assert state.current == ("a", "b")


def test_each_of_several_workers_is_told_by_its_newest_pod():
    three = job(spec={"parallelism": 3, "completions": 3})
    before = pod("old", phase="Failed", state=terminated(76), index=0, creationTimestamp="2025-12-31T00:00:00Z")
    state = state_of(
        three,
        pod("new", state=RUNNING, index=0),
        before,
        pod("b", phase="Pending", index=1, conditions=unplaced("0/2 nodes are available: 2 Insufficient cpu.")),
    )
    assert [(w.index, w.pod) for w in state.workers] == [(0, "new"), (1, "b"), (2, "")]
    assert [w.doing.partition(":")[0] for w in state.workers] == ["running", "no node fits", "has no pod"]
    assert state_of(job(), pod("a", state=RUNNING)).workers == ()


def test_of_several_workers_the_one_that_failed_by_itself_is_named():
    two = job(spec={"parallelism": 2, "completions": 2})
    state = state_of(
        two,
        pod("a", phase="Failed", state=terminated(76, at="2026-01-01T00:00:09Z"), index=0),
        pod("b", phase="Failed", state=terminated(137, reason="OOMKilled", at="2026-01-01T00:00:07Z"), index=1),
    )
    assert state.first_failed is not None
    assert (state.first_failed.index, state.first_failed.cause) == (1, "exit 137: out of memory")


def test_a_container_that_was_ended_before_it_ran_has_no_exit_code():
    late = job(conditions=[{"type": "Failed", "reason": "DeadlineExceeded"}])
    unknown = {"terminated": {"exitCode": 137, "reason": "ContainerStatusUnknown", "startedAt": None}}
    state = state_of(late, pod(phase="Failed", state=unknown))
    assert state.exit_code == WaitCode.NEVER_STARTED
    assert state.ended[0].code is None


def test_a_pod_whose_image_is_there_is_not_said_to_pull_it():
    def why(*reasons):
        creating = pod("x", phase="Pending", state=waiting("ContainerCreating"))
        return state_of(job(), creating, events=[event(reason, "", about="x") for reason in reasons]).why

    assert why("Scheduled") == "pod x starts on node-1: pulling its image r/trainer:1"
    assert why("Scheduled", "Pulled") == "pod x starts on node-1: creating its container"


def test_a_pod_that_is_gone_is_replaced_and_one_that_never_was_is_awaited():
    made = event("SuccessfulCreate", "Created pod: train-1a2b3c4d-x")
    gone = state_of(job(), events=[made])
    assert (gone.phase, gone.why) == (Phase.RESTARTING, "its pod is gone; a replacement starts")
    assert (state_of(job()).phase, state_of(job()).why) == (Phase.PENDING, "waits for its pod to be created")
    elsewhere = state_of(job(spec={"managedBy": "example.org/nobody"})).why
    assert elsewhere == "waits for its pod to be created by example.org/nobody (managedBy in the job file)"


def test_events_of_a_deleted_job_of_the_same_name_are_not_this_ones():
    def made(uid):
        about = {"kind": "Job", "name": "train-1a2b3c4d", "uid": uid}
        return event("SuccessfulCreate", "Created pod: train-1a2b3c4d-x", at=uid) | {"involvedObject": about}

    running = pod(state=RUNNING)
    assert state_of(job(), running, events=[made("earlier"), made("earlier-2"), made("job-uid")]).restarts == 0
    assert state_of(job(), running, events=[made("job-uid"), made("job-uid")]).restarts == 1

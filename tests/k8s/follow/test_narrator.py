"""Following a Job: what is said, once, and when."""

from __future__ import annotations

from k8s.follow.narrator import SETTLE_S, Follower, Open, Over, Say
from k8s.status.job_state import Seen
from tests.k8s.objects import RUNNING, disrupted, job, pod, terminated, unplaced


def told(follower, *moments):
    """What is done at each moment, every one long enough after the last."""
    return [follower.step(seen, n * 2 * SETTLE_S) for n, seen in enumerate(moments)]


def pending(resource):
    return pod(phase="Pending", conditions=unplaced(f"0/1 nodes are available: 1 Insufficient {resource}."))


def test_every_reason_is_said_once_and_again_when_it_changes():
    cpu, gpu = Seen(job(), [pending("cpu")]), Seen(job(), [pending("nvidia.com/gpu")])
    actions = told(Follower(), cpu, cpu, cpu, gpu, gpu, cpu, cpu)
    said = [a.text.partition("too little ")[2].split()[0] for step in actions for a in step if isinstance(a, Say)]
    assert said == ["cpu", "nvidia.com/gpu", "cpu"]


def test_a_reason_that_passes_at_once_is_not_said():
    follower = Follower()
    assert follower.step(Seen(job()), 0.0) == []
    assert follower.step(Seen(job(), [pod(state=RUNNING)]), SETTLE_S / 2) == [Open("train-1a2b3c4d-x", 0)]


def test_an_eviction_is_one_line_and_the_replacements_log():
    gone = pod("a", phase="Failed", state=terminated(75), conditions=disrupted())
    moments = (
        Seen(job(), [pod("a", state=RUNNING)]),
        Seen(job(), [pod("a", state=RUNNING, conditions=disrupted(), deletionTimestamp="2026-01-01T00:00:30Z")]),
        Seen(job(), [gone]),
        Seen(job(), [gone, pod("b", state=RUNNING)]),
        Seen(job(), [pod("b", state=RUNNING)]),
        Seen(job(conditions=[{"type": "Complete"}]), [pod("b", phase="Succeeded", state=terminated(0))]),
    )
    actions = [a for step in told(Follower(), *moments) for a in step]
    assert [type(a) for a in actions] == [Open, Say, Open, Over]
    assert "pod a ended: evicted; exit 75" in actions[1].text
    assert actions[3].state.exit_code == 0


def test_a_pod_that_was_never_seen_to_run_still_shows_its_log():
    failed = {"type": "Failed", "reason": "PodFailurePolicy", "message": "failed with exit code 64 matching"}
    over = Seen(job(conditions=[failed]), [pod("a", phase="Failed", state=terminated(64))])
    actions = Follower().step(over, 0.0)
    assert actions[0] == Open("a", 0)
    assert isinstance(actions[1], Over)
    assert actions[1].state.exit_code == 64


def test_a_job_taken_away_after_its_end_has_ended_as_it_did():
    follower = Follower()
    first = follower.step(Seen(job(conditions=[{"type": "Complete"}])), 0.0)
    assert [a.state.exit_code for a in first if isinstance(a, Over)] == [0]
    assert follower.step(Seen(None), 1.0) == []


def test_a_job_taken_away_before_its_end_was_cancelled():
    follower = Follower()
    follower.step(Seen(job(), [pod(state=RUNNING)]), 0.0)
    assert [a.state.exit_code for a in follower.step(Seen(None), 1.0) if isinstance(a, Over)] == [4]


def test_all_pods_of_several_are_shown():
    two = job(spec={"parallelism": 2, "completions": 2})
    seen = Seen(two, [pod("b", state=RUNNING, index=1), pod("a", state=RUNNING, index=0)])
    assert Follower().step(seen, 0.0) == [Open("a", 0), Open("b", 1)]


def test_a_fault_that_ends_the_job_promises_no_replacement():
    bad = pod("a", phase="Failed", state=terminated(64))
    target = {"type": "FailureTarget", "reason": "PodFailurePolicy", "message": "failed with exit code 64 matching"}
    failed = {**target, "type": "Failed"}
    moments = (Seen(job(), [bad]), Seen(job(conditions=[target]), [bad]), Seen(job(conditions=[failed]), [bad]))
    actions = [a for step in told(Follower(), *moments) for a in step]
    assert [type(a) for a in actions] == [Open, Over]


def test_a_pod_that_is_gone_at_the_deadline_had_run():
    late = job(conditions=[{"type": "Failed", "reason": "DeadlineExceeded"}])
    follower = Follower()
    follower.step(Seen(job(), [pod(state=RUNNING)]), 0.0)
    assert [a.state.exit_code for a in follower.step(Seen(late), 1.0) if isinstance(a, Over)] == [75]


def test_a_job_that_is_being_deleted_is_cancelled_when_it_is_gone():
    follower = Follower()
    leaving = job()
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:01:00Z"
    assert follower.step(Seen(leaving, [pod(state=RUNNING)]), 0.0) == [Open("train-1a2b3c4d-x", 0)]
    assert [a.state.exit_code for a in follower.step(Seen(None), 1.0) if isinstance(a, Over)] == [4]


def test_an_evicted_pod_that_is_gone_at_once_is_told_all_the_same():
    gone = pod("a", phase="Failed", state=terminated(75), conditions=disrupted())
    moments = (
        Seen(job(), [pod("a", state=RUNNING)]),
        Seen(job(), [gone]),
        Seen(job(), []),
        Seen(job(), []),
        Seen(job(), [pod("b", state=RUNNING)]),
    )
    follower = Follower()
    steps = [follower.step(seen, n * SETTLE_S / 4) for n, seen in enumerate(moments)]
    actions = [a for step in steps for a in step]
    assert [a.text.split(":")[0] if isinstance(a, Say) else a.pod for a in actions] == ["a", "pod a ended", "b"]

"""Workers decide together, and a run ends for all of them with one error."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.workers.peers import connected_workers, eventually
from trainer.errors import DataError, KfitError, PeerLost, StorageError
from trainer.workers.coordinator import Coordinator
from trainer.workers.step_decision import StepDecision, StepPace


def test_workers_stop_after_the_same_step_whichever_was_asked() -> None:
    """Every worker takes the same number of steps, though only one was asked, at a step of its own."""

    def train(coordinator: Coordinator) -> tuple[int, str]:
        for step in range(1, 100_000):
            asked = "SIGTERM" if coordinator.rank.index == 2 and step >= 40 else ""
            decision = coordinator.decide_step(stop=asked, save=False)
            if decision.stop:
                return step, decision.stop
        return 0, ""

    with connected_workers(3) as workers:
        ends = {future.result(30) for future in workers.all(train)}
    assert len(ends) == 1
    step, why = ends.pop()
    assert step >= 40
    assert why == "SIGTERM to worker 2"


def test_only_worker_0_says_when_to_save() -> None:
    with connected_workers(2) as workers:
        by_chief = workers.all(lambda c: c.decide_step(stop="", save=c.rank.chief, force=True))
        assert [f.result(10) for f in by_chief] == [StepDecision("", True)] * 2
        by_other = workers.all(lambda c: c.decide_step(stop="", save=not c.rank.chief, force=True))
        assert [f.result(10) for f in by_other] == [StepDecision("", False)] * 2


def test_the_number_of_steps_between_decisions_follows_the_pace() -> None:
    now_s = [0.0]
    pace = StepPace(lambda: now_s[0])
    steps = []
    for _ in range(4):
        while not pace.due(force=False):
            now_s[0] += 1 / 64
        now_s[0] += 1 / 64
        steps.append(pace.propose(force=False))
        pace.decided(steps[-1])
    assert steps == [4, 12, 12, 12]  # at most four times as many, and 0.2 s of steps
    assert pace.due(force=True)
    now_s[0] += 60.0  # a validation
    assert pace.propose(force=True) == 12


def test_bytes_are_gathered_in_the_order_of_workers_and_worker_0_is_heard_by_all() -> None:
    with connected_workers(3) as workers:
        gathered = [f.result(10) for f in workers.all(lambda c: c.gather(bytes([c.rank.index])))]
        assert gathered == [[b"\0", b"\1", b"\2"], [], []]
        told = [f.result(10) for f in workers.all(lambda c: c.broadcast_json({"epoch": c.rank.index}))]
        assert told == [{"epoch": 0}] * 3
        spread = [f.result(10) for f in workers.all(lambda c: c.broadcast_bytes(bytes([c.rank.index]) * 5_000_000))]
        assert spread == [bytes(5_000_000)] * 3


@pytest.mark.parametrize("origin", [0, 1])
def test_one_workers_error_is_the_error_of_all(origin: int) -> None:
    def work(coordinator: Coordinator) -> BaseException:
        if coordinator.rank.index == origin:
            return coordinator.fail(DataError("column x is missing", where="s3://b/k", remedy="write it again"))
        try:
            while True:
                coordinator.decide_step(stop="", save=False, force=True)
        except KfitError as error:
            return coordinator.fail(error)

    with connected_workers(3) as workers:
        errors = [f.result(20) for f in workers.all(work)]
    assert {type(error) for error in errors} == {DataError}
    others = {str(e) for i, e in enumerate(errors) if i != origin}
    assert others == {f"worker {origin}: s3://b/k: column x is missing\n  write it again"}


def test_a_lost_worker_is_noticed_at_once_and_named() -> None:
    """A thread that waits in a collective never returns; the monitor ends the process for it."""
    with connected_workers(3) as workers:
        workers.coordinators[1].begin_shutdown()
        for connection in workers.connections[1].values():
            connection.close()
        assert eventually(lambda: workers.ends[0] and workers.ends[2], 10)
    for ended in (workers.ends[0], workers.ends[2]):
        assert [type(e) for e in ended] == [PeerLost]
        assert ended[0].what == "worker 1 was lost"


def test_a_lost_worker_ends_the_process_from_the_monitor_and_never_from_a_call() -> None:
    """The main thread gets the error, writes what there is to write, and ends by itself."""
    left: list[str] = []
    with connected_workers(2) as workers:
        coordinator = workers.coordinators[0]
        coordinator._members._leave = lambda _: left.append(threading.current_thread().name)
        for connection in workers.connections[1].values():
            connection.close()
        began_s = time.monotonic()

        def broadcast() -> None:
            while True:
                coordinator.broadcast_bytes(bytes(100_000))

        with pytest.raises(PeerLost, match="worker 1 was lost"):
            broadcast()
        assert time.monotonic() - began_s < 1.5
        assert left == []
        assert eventually(lambda: left, 10)
    assert left == ["kfit-peers-monitor"]


def test_a_worker_that_is_silent_is_lost_though_its_connection_stands() -> None:
    with connected_workers(2, silence_s=3.0, bare=(1,)) as workers:
        assert eventually(lambda: workers.ends[0])
    assert workers.ends[0][0].what == "worker 1 has not been heard of for 3 s"


def test_a_worker_that_reads_slowly_keeps_no_other_from_hearing_of_worker_0() -> None:
    """Worker 1 reads nothing for longer than a silence; it is alive, so no worker's run ends."""
    with connected_workers(3, silence_s=4.0, bare=(1,)) as workers:
        slow = workers.connections[1][0]
        over = threading.Event()

        def live() -> None:
            while not over.wait(0.5):
                slow.send("heartbeat")

        with ThreadPoolExecutor(3) as pool:
            pool.submit(live)
            sending = pool.submit(workers.coordinators[0].broadcast_bytes, bytes(64 * 1024**2))
            received = pool.submit(workers.coordinators[2].broadcast_bytes)
            assert len(received.result(20)) == 64 * 1024**2
            time.sleep(7.0)
            assert not sending.done()
            assert workers.ends == [[], [], []]
            assert len(slow.receive()[1]) == 64 * 1024**2
            assert len(sending.result(20)) == 64 * 1024**2
            over.set()


def test_an_error_of_a_collective_gives_way_to_the_loss_behind_it() -> None:
    class UnavailableError(Exception):
        """As TensorFlow's."""

    with connected_workers(2) as workers:
        future = ThreadPoolExecutor(1).submit(workers.coordinators[0].fail, UnavailableError("Socket closed"))
        for connection in workers.connections[1].values():
            connection.close()
        assert isinstance(future.result(10), PeerLost)


def test_after_the_last_step_worker_0_ignores_losses_and_others_wait_for_its_result() -> None:
    with connected_workers(3) as workers:
        workers.coordinators[0].training_done()
        workers.connections[1][0].close()
        waiting = ThreadPoolExecutor(1).submit(workers.coordinators[2].finish, None)
        workers.coordinators[0].finish({"status": "succeeded"})
        assert waiting.result(10) == {"status": "succeeded"}
        time.sleep(2.5)  # longer than the monitor lets the main thread end by itself
        assert workers.ends[0] == []
        assert workers.ends[2] == []


def test_a_loss_just_before_the_end_of_training_does_not_end_the_publication() -> None:
    with connected_workers(2) as workers:
        chief = workers.coordinators[0]
        for connection in workers.connections[1].values():
            connection.close()
        assert eventually(lambda: chief._members._failure is not None)
        chief.training_done()
        time.sleep(2.5)
        assert workers.ends[0] == []
        assert chief.finish({"status": "succeeded"}) == {"status": "succeeded"}


def test_an_error_while_worker_0_publishes_is_the_error_of_those_who_wait() -> None:
    with connected_workers(2) as workers:
        workers.coordinators[0].training_done()
        waiting = ThreadPoolExecutor(1).submit(workers.coordinators[1].finish, None)
        failed = StorageError("the store is away")
        assert workers.coordinators[0].fail(failed) is failed
        with pytest.raises(StorageError, match="the store is away"):
            waiting.result(10)
        assert workers.coordinators[1].chief_knows_error


def test_a_shutdown_that_all_agreed_on_is_no_loss() -> None:
    with connected_workers(3) as workers:
        for coordinator in workers.coordinators.values():
            coordinator.begin_shutdown()
        for coordinator in workers.coordinators.values():
            coordinator.close()
        time.sleep(2.5)
        assert workers.ends == [[], [], []]
        assert all(c.closed for connections in workers.connections for c in connections.values())

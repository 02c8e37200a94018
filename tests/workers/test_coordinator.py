"""Workers among each other, over real sockets: each side of a group in a thread of its own."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from trainer.errors import ConfigError, DataError, KfitError, PeerLost
from trainer.workers.coordinator import Group, Word
from trainer.workers.rank import Rank, rank_from
from trainer.workers.rendezvous import Door, Finished, Met, meet
from trainer.workers.transport import Wire

IDENTITY = {"run": "r", "configuration": "c"}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def ranks(workers: int) -> list[Rank]:
    port = free_port()
    return [Rank(index, workers, ("127.0.0.1",) * workers, port, 0) for index in range(workers)]


def come(rank: Rank, **changes: Any) -> Met:
    options: dict[str, Any] = {"deadline_s": 20.0, "note": lambda _: None, "finished": lambda: False}
    return meet(rank, changes.pop("identity", IDENTITY), **(options | changes))


def part(*met: Met) -> None:
    for each in met:
        for wire in each.wires.values():
            wire.close()
        if each.door:
            each.door.close()


class Company:
    """Groups that have met, and what each was ended with from its watching thread."""

    def __init__(self, workers: int, silence_s: float = 20.0) -> None:
        self.ends: list[list[KfitError]] = [[] for _ in range(workers)]
        with ThreadPoolExecutor(workers) as pool:
            self.met = list(pool.map(come, ranks(workers)))
        self.wires = [m.wires for m in self.met]
        self.groups = [
            Group(Rank(i, workers, ("127.0.0.1",) * workers, 0, 0), m.wires, self.ends[i].append, silence_s=silence_s)
            for i, m in enumerate(self.met)
        ]

    def all(self, call: Callable[[Group], Any]) -> list[Future[Any]]:
        pool = ThreadPoolExecutor(len(self.groups))
        futures = [pool.submit(call, group) for group in self.groups]
        pool.shutdown(wait=False)
        return futures

    def close(self) -> None:
        for group in self.groups:
            group.part()
        part(*self.met)


@contextlib.contextmanager
def company(workers: int, silence_s: float = 20.0) -> Iterator[Company]:
    made = Company(workers, silence_s)
    try:
        yield made
    finally:
        made.close()


def test_workers_agree_on_the_same_step_whoever_was_asked_to_stop() -> None:
    """Every worker takes the same number of steps, though only one was asked, at a step of its own."""

    def train(group: Group) -> tuple[int, str]:
        for step in range(1, 100_000):
            asked = "SIGTERM" if group.rank.index == 2 and step >= 40 else ""
            word = group.agree(stop=asked, save=False)
            if word.stop:
                return step, word.stop
        return 0, ""

    with company(3) as made:
        ends = {future.result(30) for future in made.all(train)}
    assert len(ends) == 1
    step, why = ends.pop()
    assert step >= 40
    assert why == "SIGTERM to worker 2"


def test_only_the_chief_says_when_to_save_and_all_hear_it_at_once() -> None:
    with company(2) as made:
        words = [f.result(10) for f in made.all(lambda g: g.agree(stop="", save=g.rank.chief, must=True))]
        assert words == [Word("", True)] * 2
        words = [f.result(10) for f in made.all(lambda g: g.agree(stop="", save=not g.rank.chief, must=True))]
        assert words == [Word("", False)] * 2


def test_bytes_are_gathered_in_the_order_of_workers_and_the_chief_is_heard_by_all() -> None:
    with company(3) as made:
        found = [f.result(10) for f in made.all(lambda g: g.gather(bytes([g.rank.index])))]
        assert found == [[b"\0", b"\1", b"\2"], [], []]
        said = [f.result(10) for f in made.all(lambda g: g.tell({"epoch": g.rank.index}))]
        assert said == [{"epoch": 0}] * 3


@pytest.mark.parametrize("origin", [0, 1])
def test_one_workers_error_is_the_error_of_all(origin: int) -> None:
    def work(group: Group) -> BaseException:
        if group.rank.index == origin:
            return group.fail(DataError("column x is missing", where="s3://b/k", remedy="write it again"))
        try:
            while True:
                group.agree(stop="", save=False, must=True)
        except KfitError as error:
            return group.fail(error)

    with company(3) as made:
        found = [f.result(20) for f in made.all(work)]
    assert {type(error) for error in found} == {DataError}
    others = {str(e) for i, e in enumerate(found) if i != origin}
    assert others == {f"worker {origin}: s3://b/k: column x is missing\n  write it again"}


def test_a_lost_worker_is_noticed_at_once_and_named() -> None:
    """A thread that waits in a collective never returns; the watch ends the process for it."""
    with company(3) as made:
        for wire in made.wires[1].values():
            wire.close()
        until_s = time.monotonic() + 10
        while not (made.ends[0] and made.ends[2]) and time.monotonic() < until_s:
            time.sleep(0.05)
    for ended in (made.ends[0], made.ends[2]):
        assert [type(e) for e in ended] == [PeerLost]
        assert ended[0].what == "worker 1 was lost"


def test_a_worker_that_is_silent_is_lost_though_its_connection_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    with company(2, silence_s=3.0) as made:
        monkeypatch.setattr(made.wires[1][0], "send", lambda *_, **__: None)
        until_s = time.monotonic() + 15
        while not made.ends[0] and time.monotonic() < until_s:
            time.sleep(0.05)
    assert made.ends[0][0].what == "worker 1 has not been heard of for 3 s"


def test_an_error_of_a_collective_gives_way_to_the_loss_behind_it() -> None:
    class UnavailableError(Exception):
        """As TensorFlow's."""

    with company(2) as made:
        future = ThreadPoolExecutor(1).submit(made.groups[0].fail, UnavailableError("Socket closed"))
        for wire in made.wires[1].values():
            wire.close()
        assert isinstance(future.result(10), PeerLost)


def test_after_the_last_step_the_chief_minds_no_loss_and_others_wait_for_its_result() -> None:
    with company(3) as made:
        made.groups[0].relax()
        made.wires[1][0].close()
        waiting = ThreadPoolExecutor(1).submit(made.groups[2].finish, None)
        made.groups[0].finish({"status": "succeeded"})
        assert waiting.result(10) == {"status": "succeeded"}
        assert made.ends[0] == []


# --- the meeting ----------------------------------------------------------------------------------


def test_who_did_not_come_is_named() -> None:
    first, second, _ = ranks(3)
    with ThreadPoolExecutor(2) as pool:
        chief = pool.submit(come, first, deadline_s=2.0)
        other = pool.submit(come, second)
        for waiting in (chief, other):
            with pytest.raises(PeerLost, match="worker 2 did not come within 2 s"):
                waiting.result(10)


def test_a_worker_whose_chief_never_comes_says_so() -> None:
    with pytest.raises(PeerLost, match="worker 0 was not reached within 1 s"):
        come(ranks(2)[1], deadline_s=1.0)


def knock(rank: Rank) -> socket.socket:
    until_s = time.monotonic() + 10
    while True:
        try:
            return socket.create_connection(("127.0.0.1", rank.meeting_port))
        except ConnectionRefusedError:
            assert time.monotonic() < until_s


def test_a_worker_that_was_started_again_takes_its_place() -> None:
    first, second, third = ranks(3)
    with ThreadPoolExecutor(3) as pool:
        chief = pool.submit(come, first)
        before = Wire(knock(first))
        before.send("hello", index=1, identity=IDENTITY, address="127.0.0.1:1")
        before.close()
        others = [pool.submit(come, rank).result for rank in (second, third)]
        met = [chief.result(20), *(result(20) for result in others)]
    assert len({m.addresses for m in met}) == 1
    assert "127.0.0.1:1" not in met[0].addresses
    part(*met)


def test_a_worker_that_left_before_all_had_come_is_missing_and_its_connection_closed() -> None:
    first, second = ranks(2)
    with contextlib.closing(Door(first, IDENTITY)) as door, contextlib.closing(Wire(knock(first))) as gone:
        gone.send("hello", index=1, identity=IDENTITY, address="127.0.0.1:1")
        with door.news:
            assert door.news.wait_for(lambda: 1 in door.present, 10)
        held, _ = door.present[1]
        gone.close()
        assert not door.roll_call()
        assert door.missing() == [second.index]
        assert held._socket.fileno() == -1


def test_a_worker_of_another_configuration_ends_the_run() -> None:
    first, second = ranks(2)
    with ThreadPoolExecutor(2) as pool:
        chief = pool.submit(come, first)
        pool.submit(come, second, identity={"run": "r", "configuration": "other"}, deadline_s=2.0)
        with pytest.raises(ConfigError, match="worker 1 is of another run"):
            chief.result(10)


def test_a_worker_that_comes_after_the_end_goes() -> None:
    _, late = ranks(2)
    with pytest.raises(Finished):
        come(late, finished=lambda: True, deadline_s=30.0)


def test_noise_at_the_door_keeps_nobody_out() -> None:
    first, second = ranks(2)
    with ThreadPoolExecutor(2) as pool:
        chief = pool.submit(come, first)
        with knock(first) as probe:
            probe.sendall(b"GET / HTTP/1.1\r\nHost: metadata\r\n\r\n")
            with contextlib.suppress(ConnectionResetError):
                assert probe.recv(1) == b""
        met = [pool.submit(come, second).result(20), chief.result(20)]
    assert met[0].addresses == met[1].addresses
    part(*met)


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"KFIT_NODES": "2"}, "JOB_COMPLETION_INDEX"),
        ({"KFIT_NODES": "2", "JOB_COMPLETION_INDEX": "2"}, "not below KFIT_NODES 2"),
        ({"KFIT_NODES": "2", "JOB_COMPLETION_INDEX": "1", "KFIT_JOB": "j"}, "KFIT_SERVICE is not set"),
        ({"KFIT_NODES": "two"}, "'two', not a number"),
    ],
)
def test_an_environment_that_makes_no_rank_is_refused(environ: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        rank_from(environ)


def test_pods_of_an_indexed_job_find_each_other_by_name() -> None:
    environ = {"KFIT_NODES": "2", "JOB_COMPLETION_INDEX": "1", "KFIT_JOB": "job-1a2b", "KFIT_SERVICE": "job"}
    rank = rank_from(environ)
    assert rank.hosts == ("job-1a2b-0.job", "job-1a2b-1.job")
    assert (rank.index, rank.grpc_port, rank.meeting_port, rank.local) == (1, 2222, 2223, False)
    assert rank.name(0) == "worker 0 (job-1a2b-0)"
    assert rank_from({}).workers == 1

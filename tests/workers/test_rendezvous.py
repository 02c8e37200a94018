"""Workers find each other, whatever else connects to the port of worker 0."""

from __future__ import annotations

import contextlib
import resource
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.workers.peers import IDENTITY, SECRET, close, connect, eventually, join, ranks
from trainer.errors import ConfigError, PeerLost
from trainer.workers import rendezvous_server
from trainer.workers.authentication import NotAPeer, accept_peer, join_peer
from trainer.workers.rank import Rank, rank_from
from trainer.workers.rendezvous import Finished
from trainer.workers.rendezvous_server import RendezvousServer
from trainer.workers.transport import Connection


def arrive(rank: Rank, index: int, address: str, secret: bytes = SECRET, **identity: str) -> Connection:
    """A worker that has connected and said who it is."""
    connection = Connection(connect(rank))
    join_peer(connection, secret, 5.0)
    connection.send("join", index=index, identity=IDENTITY | identity, address=address)
    return connection


def test_a_worker_that_did_not_come_is_named() -> None:
    first, second, _ = ranks(3)
    with ThreadPoolExecutor(2) as pool:
        chief = pool.submit(join, first, deadline_s=2.0)
        other = pool.submit(join, second)
        for waiting in (chief, other):
            with pytest.raises(PeerLost, match="worker 2 did not come within 2 s"):
                waiting.result(10)


def test_a_worker_whose_worker_0_never_comes_says_so() -> None:
    with pytest.raises(PeerLost, match="worker 0 was not reached within 1 s"):
        join(ranks(2)[1], deadline_s=1.0)


def test_a_worker_that_was_started_again_takes_its_place() -> None:
    first, second, third = ranks(3)
    with ThreadPoolExecutor(3) as pool:
        chief = pool.submit(join, first)
        before = arrive(first, 1, "127.0.0.1:1")
        before.close()
        others = [pool.submit(join, rank).result for rank in (second, third)]
        met = [chief.result(20), *(result(20) for result in others)]
    assert len({m.addresses for m in met}) == 1
    assert "127.0.0.1:1" not in met[0].addresses
    close(*met)


def test_a_worker_that_left_before_all_had_come_is_missing_and_its_connection_closed() -> None:
    first, second = ranks(2)
    with contextlib.closing(RendezvousServer(first, IDENTITY, lambda _: None)) as server:
        gone = arrive(first, 1, "127.0.0.1:1")
        assert eventually(lambda: not server.missing())
        held, _ = server._present[1]
        gone.close()
        assert not server.roll_call(2)
        assert server.missing() == [second.index]
        assert held.closed


def test_a_worker_that_does_not_answer_the_roll_call_delays_the_others_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendezvous_server, "_ROLL_CALL_S", 1.0)
    first, *_ = ranks(6)
    with contextlib.closing(RendezvousServer(first, IDENTITY, lambda _: None)) as server:
        mute = [arrive(first, index, f"127.0.0.1:{index}") for index in range(1, 6)]
        assert eventually(lambda: not server.missing())
        began_s = time.monotonic()
        assert not server.roll_call(6)
        assert time.monotonic() - began_s < 3.0
        for connection in mute:
            connection.close()


def test_a_worker_of_another_configuration_ends_the_run() -> None:
    first, second = ranks(2)
    with ThreadPoolExecutor(2) as pool:
        chief = pool.submit(join, first)
        pool.submit(join, second, identity={"run": "r", "configuration": "other"}, deadline_s=2.0)
        with pytest.raises(ConfigError, match="worker 1 belongs to another run"):
            chief.result(10)


def test_a_worker_that_comes_after_the_end_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.workers.rendezvous._ASK_WHETHER_FINISHED_EVERY_S", 1.0)
    _, late = ranks(2)
    with pytest.raises(Finished):
        join(late, finished=lambda: True, deadline_s=30.0)


def test_nobody_listens_once_all_workers_are_there() -> None:
    first, second = ranks(2)
    with ThreadPoolExecutor(2) as pool:
        met = list(pool.map(join, (first, second)))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", first.meeting_port))
    close(*met)


# --- strangers --------------------------------------------------------------------------------------

#: A frame of the protocol that promises 1 GiB of body.
PROMISE = struct.pack(">IQ", 100, 1024**3)
HELLO = b'{"kind": "join", "index": 1, "identity": {"run": "other"}, "address": "10.0.0.9:1"}'
FRAME = struct.pack(">IQ", len(HELLO), 0) + HELLO


@pytest.mark.parametrize(
    "noise",
    [
        b"GET / HTTP/1.1\r\nHost: metadata\r\n\r\n",
        b"",
        PROMISE,
        PROMISE + bytes(100_000),
        FRAME,
        b"kfit-workers-1\n" + bytes(64) + FRAME,
        b"\x16\x03\x01" + bytes(500),
    ],
    ids=["http", "nothing", "promise", "flood", "wrong hello", "forged proof", "tls"],
)
def test_a_stranger_is_dropped_and_keeps_nobody_out(noise: bytes) -> None:
    first, second = ranks(2)
    notes: list[str] = []
    with ThreadPoolExecutor(2) as pool:
        chief = pool.submit(join, first, note=notes.append)
        with connect(first) as stranger:
            stranger.sendall(noise)
            if noise:
                with contextlib.suppress(OSError):  # it may have been reset already
                    stranger.shutdown(socket.SHUT_WR)
                    while stranger.recv(4096):  # 32 random bytes, and the end
                        pass
            met = [pool.submit(join, second).result(20), chief.result(20)]
    assert met[0].addresses == met[1].addresses
    assert len(notes) <= 1
    assert all("not of a worker of this run" in note for note in notes)
    close(*met)


def test_a_worker_of_another_job_is_a_stranger() -> None:
    """The same names and ports and another secret: it neither joins nor ends the run."""
    first, second = ranks(2)
    impostor = Rank(1, 2, first.hosts, first.meeting_port, 0, b"the uid of another Job")
    with ThreadPoolExecutor(3) as pool:
        chief = pool.submit(join, first)
        refused = pool.submit(join, impostor, deadline_s=2.0)
        with pytest.raises(PeerLost, match="did not prove that it belongs to this run within 2 s"):
            refused.result(10)
        met = [pool.submit(join, second).result(20), chief.result(20)]
    close(*met)


def test_a_false_worker_0_learns_nothing_it_could_use_and_is_not_believed() -> None:
    first, second = ranks(2)
    with socket.create_server(("127.0.0.1", first.meeting_port)) as server, ThreadPoolExecutor(1) as pool:
        joining = pool.submit(join, second, deadline_s=1.0)
        accepted, _ = server.accept()
        with contextlib.closing(Connection(accepted)) as connection, pytest.raises(NotAPeer):
            accept_peer(connection, b"a guess", 5.0)
        with pytest.raises(PeerLost, match="did not prove that it belongs to this run"):
            joining.result(10)


def test_two_hundred_silent_strangers_hold_neither_memory_nor_the_workers_back() -> None:
    first, second = ranks(2)
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with ThreadPoolExecutor(2) as pool, contextlib.ExitStack() as strangers:
        chief = pool.submit(join, first)
        for _ in range(200):
            with contextlib.suppress(OSError):
                strangers.enter_context(connect(first)).sendall(PROMISE)
        began_s = time.monotonic()
        met = [pool.submit(join, second).result(20), chief.result(20)]
        assert time.monotonic() - began_s < 4.0  # less than the time a silent one is given
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 100_000
    close(*met)


def test_of_too_many_strangers_the_oldest_are_closed_at_once() -> None:
    first, _ = ranks(2)
    with (
        contextlib.closing(RendezvousServer(first, IDENTITY, lambda _: None)) as server,
        contextlib.ExitStack() as strangers,
    ):
        most = server._most_unknown
        opened = [strangers.enter_context(connect(first)) for _ in range(most + 5)]
        for oldest in opened[:5]:
            oldest.settimeout(2.0)  # less than the time a silent one is given
            with contextlib.suppress(ConnectionResetError):
                while oldest.recv(4096):
                    pass
        assert len(server._unknown) <= most


def test_a_stranger_that_sends_a_byte_at_a_time_has_no_more_time_than_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendezvous_server, "_HANDSHAKE_S", 1.0)
    first, _ = ranks(2)
    with contextlib.closing(RendezvousServer(first, IDENTITY, lambda _: None)) as server, connect(first) as slow:
        assert eventually(lambda: server._unknown)
        began_s = time.monotonic()
        with contextlib.suppress(OSError):
            while server._unknown and time.monotonic() - began_s < 10:
                slow.sendall(b"k")
                time.sleep(0.2)
        assert 0.5 < time.monotonic() - began_s < 5.0
        assert not server._unknown


# --- the rank ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"KFIT_NODES": "2"}, "JOB_COMPLETION_INDEX"),
        ({"KFIT_NODES": "2", "JOB_COMPLETION_INDEX": "2"}, "not below KFIT_NODES 2"),
        ({"KFIT_NODES": "2", "JOB_COMPLETION_INDEX": "1", "KFIT_JOB": "j"}, "KFIT_SERVICE is not set"),
        (
            {"KFIT_NODES": "2", "JOB_COMPLETION_INDEX": "1", "KFIT_JOB": "j", "KFIT_SERVICE": "s"},
            "KFIT_JOB_UID is not set, so the workers cannot recognise each other",
        ),
        (
            {"KFIT_NODES": "2", "JOB_COMPLETION_INDEX": "1", "KFIT_MEETING_PORT": "1"},
            "KFIT_WORKERS_SECRET is not set, so the workers cannot recognise each other",
        ),
        ({"KFIT_NODES": "two"}, "'two', not a number"),
    ],
)
def test_an_environment_that_makes_no_rank_is_refused(environ: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        rank_from(environ)


def test_pods_of_an_indexed_job_find_each_other_by_name_and_know_each_other_by_the_jobs_uid() -> None:
    environ = {
        "KFIT_NODES": "2",
        "JOB_COMPLETION_INDEX": "1",
        "KFIT_JOB": "job-1a2b",
        "KFIT_SERVICE": "job",
        "KFIT_JOB_UID": "3f0c",
    }
    rank = rank_from(environ)
    assert rank.hosts == ("job-1a2b-0.job", "job-1a2b-1.job")
    assert (rank.index, rank.grpc_port, rank.meeting_port, rank.local) == (1, 2222, 2223, False)
    assert rank.secret == b"3f0c"
    assert "3f0c" not in repr(rank)
    assert rank.name(0) == "worker 0 (job-1a2b-0)"
    assert rank_from({}).workers == 1

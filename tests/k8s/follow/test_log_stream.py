"""Logs across broken streams: every line once."""

from __future__ import annotations

from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from k8s.follow.log_stream import LogReader

# Nanoseconds as kubelet writes them: without their last zeros, many lines within one of them.
TIMES = ["2026-01-01T00:00:01Z", "2026-01-01T00:00:01.5Z", "2026-01-01T00:00:01.50001Z", "2026-01-01T00:00:01.51Z",
         "2026-01-01T00:00:02Z", "2026-01-01T00:00:02.000000001Z", "2026-01-01T00:00:10Z"]  # fmt: skip


@st.composite
def _log(draw):
    counts = draw(st.lists(st.integers(0, 3), min_size=len(TIMES), max_size=len(TIMES)))
    stamps = [at for at, count in zip(TIMES, counts, strict=True) for _ in range(count)]
    return [(at, f"line {draw(st.integers(0, 2))} of many") for at in stamps]


def in_zone(at, hours):
    """The same moment as a node of that zone writes it."""
    if not hours:
        return at
    head, _, fraction = at.removesuffix("Z").partition(".")
    there = datetime.fromisoformat(head) + timedelta(hours=hours)
    return there.isoformat() + (f".{fraction}" if fraction else "") + f"{hours:+03d}:00"


def served(log, since, hours):
    """What the API server sends: whole seconds from `since` on, in the zone of the node."""
    return b"".join(f"{in_zone(at, hours)} {text}\n".encode() for at, text in log if at[:19] >= since[:19])


@given(_log(), st.lists(st.integers(0, 400), max_size=5), st.integers(1, 64), st.sampled_from([0, 2, -7]))
def test_no_line_is_lost_or_doubled_wherever_the_stream_is_cut_and_whatever_the_nodes_zone(log, cuts, chunk, hours):
    reader, seen = LogReader(), []
    for cut in [*cuts, None]:
        body = served(log, reader.since, hours)[:cut]
        reader.restart()
        for start in range(0, len(body), chunk):
            seen += [line.text for line in reader.feed(body[start : start + chunk])]
        if cut is None:
            seen += [line.text for line in reader.end()]
    assert seen == [text for _, text in log]


def test_the_last_line_needs_no_end():
    reader = LogReader()
    assert [line.text for line in reader.feed(b"2026-01-01T00:00:01Z a\n2026-01-01T00:00:02Z b")] == ["a"]
    assert [(line.at, line.text) for line in reader.end()] == [("2026-01-01T00:00:02Z", "b")]


def test_the_second_to_come_back_to_is_in_utc():
    reader = LogReader()
    list(reader.feed(b"2026-01-01T01:30:00.25+02:00 a\n"))
    assert reader.since == "2025-12-31T23:30:00Z"

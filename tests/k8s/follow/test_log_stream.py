"""Logs across broken streams: every line once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from k8s.follow.log_stream import Cursor

# Nanoseconds as kubelet writes them: without their last zeros, many lines within one of them.
TIMES = ["2026-01-01T00:00:01Z", "2026-01-01T00:00:01.5Z", "2026-01-01T00:00:01.50001Z", "2026-01-01T00:00:01.51Z",
         "2026-01-01T00:00:02Z", "2026-01-01T00:00:02.000000001Z", "2026-01-01T00:00:10Z"]  # fmt: skip


@st.composite
def _log(draw):
    counts = draw(st.lists(st.integers(0, 3), min_size=len(TIMES), max_size=len(TIMES)))
    stamps = [at for at, count in zip(TIMES, counts, strict=True) for _ in range(count)]
    return [(at, f"line {draw(st.integers(0, 2))} of many") for at in stamps]


def served(log, since):
    """What the API server sends: whole seconds from `since` on."""
    return b"".join(f"{at} {text}\n".encode() for at, text in log if at[:19] >= since[:19])


@given(_log(), st.lists(st.integers(0, 400), max_size=5), st.integers(1, 64))
def test_no_line_is_lost_or_doubled_wherever_the_stream_is_cut(log, cuts, chunk):
    cursor, seen = Cursor(), []
    for cut in [*cuts, None]:
        body = served(log, cursor.since)[:cut]
        reading = cursor.reread()
        for start in range(0, len(body), chunk):
            seen += [line.text for line in reading.feed(body[start : start + chunk])]
        if cut is None:
            seen += [line.text for line in reading.end()]
    assert seen == [text for _, text in log]


def test_the_last_line_needs_no_end():
    reading = Cursor().reread()
    assert [line.text for line in reading.feed(b"2026-01-01T00:00:01Z a\n2026-01-01T00:00:02Z b")] == ["a"]
    assert [(line.at, line.text) for line in reading.end()] == [("2026-01-01T00:00:02Z", "b")]

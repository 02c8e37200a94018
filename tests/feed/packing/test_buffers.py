"""Packed rows: what is gathered, where memory comes from, and how codes of integers are looked up."""

from __future__ import annotations

import itertools
import threading

import numpy as np
import pyarrow as pa
import pytest

from trainer.feed.packing import buffers
from trainer.feed.packing.buffers import BufferPool, Rows, room_for, views_over
from trainer.feed.packing.pack import Packer
from trainer.schema import CodeField, Column, LabelField, Layout, NumberField

LABEL = LabelField("label", "int32", "binary")


def layout_of(numbers=3, codes=2):
    return Layout(
        tuple(NumberField(Column(f"n{i}", "numeric", "float", "float32"), i) for i in range(numbers)),
        tuple(CodeField(Column(f"c{i}", "categorical", "int64", "int64"), i, (1, 2)) for i in range(codes)),
        LABEL,
    )


@pytest.mark.parametrize(("numbers", "codes"), [(3, 2), (0, 2), (3, 0)])
def test_arrays_begin_where_tensorflow_takes_them_over_without_a_copy(numbers, codes):
    layout = layout_of(numbers, codes)
    memory = np.empty(room_for(layout, 7) + 1, np.uint8)[1:]
    rows = views_over(layout, memory, 7)
    assert [a.shape for a in rows.arrays] == [(7, numbers), (7, codes), (7,), (7, 2), (7, 0)]
    assert [a.ctypes.data % 64 for a in rows.arrays if a.size] == [0] * sum(bool(a.size) for a in rows.arrays)


def test_memory_comes_back_once_nothing_holds_it():
    memory = BufferPool(layout_of())
    first = memory.take(100)
    other = memory.take(100)
    assert not np.shares_memory(first.label, other.label)
    view = first.numbers[3:5]
    place = first.label.ctypes.data
    del first
    assert memory.take(100).label.ctypes.data not in (place, other.label.ctypes.data)
    del view
    assert memory.take(90).numbers.base is not None
    assert any(memory.take(100).label.ctypes.data == place for _ in range(3))


def test_memory_that_comes_back_late_is_waited_for_and_not_made_anew():
    memory = BufferPool(layout_of(), most=2)
    taken = [memory.take(100), memory.take(100)]
    places = {rows.label.ctypes.data for rows in taken}
    letting_go = threading.Timer(0.05, taken.pop)
    letting_go.start()
    assert memory.take(100).label.ctypes.data in places


def test_memory_that_does_not_come_back_is_made_anew():
    memory = BufferPool(layout_of(), most=1)
    taken = memory.take(100)
    assert not np.shares_memory(memory.take(100).label, taken.label)


def test_this_interpreter_reports_the_return_of_memory():
    assert buffers.reports_return()


@pytest.mark.parametrize("reported", ["too early", "never"])
def test_memory_is_never_used_again_where_its_return_is_not_reported(reported, monkeypatch):
    def lend(memory, on_return):
        if reported == "too early":
            on_return()
        return np.frombuffer(memory, np.uint8)

    monkeypatch.setattr(buffers, "lend", lend)
    monkeypatch.setattr(buffers, "reports_return", buffers.reports_return.__wrapped__)
    assert not buffers.reports_return()
    memory = BufferPool(layout_of(), most=1)
    taken = [memory.take(100) for _ in range(3)]
    assert not any(np.shares_memory(a.label, b.label) for a, b in itertools.combinations(taken, 2))


def test_memory_of_a_pool_that_is_gone_stays_valid():
    rows = BufferPool(layout_of()).take(100)
    rows.numbers[:] = 7.0
    others = [BufferPool(layout_of()).take(100) for _ in range(10)]
    for other in others:
        other.numbers[:] = 0.0
    assert (rows.numbers == 7.0).all()


def test_rows_are_gathered_in_an_order():
    layout = layout_of()
    memory = BufferPool(layout)
    rows, out = memory.take(5), memory.take(3)
    for values in rows.arrays:
        values[:] = np.arange(values.size).reshape(values.shape)
    rows.take(np.array([4, 0, 2]), out)
    for values, gathered in zip(rows.arrays, out.arrays, strict=True):
        np.testing.assert_array_equal(gathered, values[[4, 0, 2]])


def packed_codes(values, vocabulary, arrow, fill=None) -> list[int]:
    field = CodeField(Column("c", "categorical", str(arrow), str(arrow)), 0, tuple(vocabulary), fill=fill)
    table = pa.table({"c": pa.array(values, arrow), "label": pa.array([0] * len(values), pa.int32())})
    layout = Layout((), (field,), LABEL)
    rows: Rows = BufferPool(layout).take(len(values))
    Packer(layout).pack(table, rows)
    return [int(v) for v in rows.codes[:, 0]]


@pytest.mark.parametrize("arrow", [pa.int8(), pa.int16(), pa.uint16(), pa.int32(), pa.int64(), pa.uint64()])
def test_codes_of_integers_are_their_places_in_the_vocabulary(arrow):
    assert packed_codes([7, 3, 4, None, 100, 5], [5, 3, 7], arrow) == [4, 3, 1, 0, 1, 2]


def test_integers_at_the_ends_of_their_type_are_unseen_and_not_mistaken():
    ends = [-(2**63), -(2**63) + 1, 2**63 - 1, 0, -1]
    assert packed_codes(ends, [0, -1, 9], pa.int64()) == [1, 1, 1, 2, 3]
    assert packed_codes([-128, 127, 0], [127, -128], pa.int8()) == [3, 2, 1]


@pytest.mark.parametrize("far", [2**40, -(2**62) - 5])
def test_integers_that_lie_far_apart_have_codes_too(far):
    assert packed_codes([far, 0, 1, None], [0, far], pa.int64(), fill=far) == [3, 2, 1, 3]


def test_kept_rows_are_those_of_the_mask_whatever_the_block():
    layout = layout_of(numbers=2, codes=1)
    size = 5000
    random = np.random.default_rng(0)
    table = pa.table({
        "n0": random.normal(size=size).astype("f4"), "n1": random.integers(0, 9, size),
        "c0": random.integers(0, 4, size), "label": random.integers(0, 2, size),
    })  # fmt: skip
    whole = BufferPool(layout).take(size)
    Packer(layout).pack(table, whole)
    for keep in (random.random(size) < 0.3, np.arange(size) > 4000, np.zeros(size, bool)):
        masked = BufferPool(layout).take(int(keep.sum()))
        Packer(layout).pack(table, masked, keep)
        for values, packed in zip(whole.arrays, masked.arrays, strict=True):
            np.testing.assert_array_equal(packed, values[keep])

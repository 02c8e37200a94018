"""Parts of dates, compared with those of pandas and Arrow; the graph's with NumPy's, bit for bit."""

from __future__ import annotations

import datetime

import keras
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.date_parts import CYCLES, GROWING, packed_names, packed_parts, raw_of, zone_offsets
from trainer.errors import ConfigError
from trainer.serving.dates import KERAS

WHOLE = ("year", "month", "day", "day_of_year", "weekday", "hour", "minute", "second")
ZONES = [
    "", "UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "Africa/Casablanca",
    "Pacific/Apia", "America/Sao_Paulo", "+05:30", "-03:00",
]  # fmt: skip
UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def by_pandas(seconds: np.ndarray, zone: str) -> np.ndarray:
    local = pd.DatetimeIndex(seconds.astype("datetime64[s]"))
    if zone:
        local = local.tz_localize("UTC").tz_convert(zone)
    attributes = ("year", "month", "day", "day_of_year", "day_of_week", "hour", "minute", "second")
    return np.stack([getattr(local, name) for name in attributes], axis=-1)


def by_arrow(array: pa.Array) -> np.ndarray:
    functions = (pc.year, pc.month, pc.day, pc.day_of_year, pc.day_of_week, pc.hour, pc.minute, pc.second)
    return np.stack([function(array).to_numpy() for function in functions], axis=-1)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("unit", UNITS)
def test_parts_are_those_of_pandas_before_1970_and_far_ahead(unit, zone):
    rng = np.random.default_rng(0)
    first, last = -3_700_000_000, 7_200_000_000  # 1852 to 2198
    seconds = rng.integers(first, last, 3000)
    seconds[::2] -= seconds[::2] % 3600 + rng.integers(0, 2)  # on the edges of hours, and a second before
    raw = seconds * UNITS[unit] + rng.integers(0, UNITS[unit], len(seconds))
    arrow = str(pa.timestamp(unit, zone or None))
    np.testing.assert_array_equal(packed_parts(raw, arrow, WHOLE), by_pandas(seconds, zone))


@pytest.mark.parametrize("zone", ZONES)
def test_parts_are_those_of_arrow_where_it_knows_the_offset(zone):
    seconds = np.random.default_rng(1).integers(0, 2_100_000_000, 5000)  # Arrow 25 knows no rule beyond 2037
    kind = pa.timestamp("s", zone or None)
    np.testing.assert_array_equal(packed_parts(seconds, str(kind), WHOLE), by_arrow(pa.array(seconds).cast(kind)))


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])
def test_a_clock_is_put_forward_and_back_to_the_second(zone):
    changes, _ = zone_offsets(zone)
    around = np.concatenate([changes + step for step in (-1, 0, 1)])
    np.testing.assert_array_equal(packed_parts(around, f"timestamp[s, tz={zone}]", WHOLE), by_pandas(around, zone))


def test_every_day_of_800_years_is_pythons():
    first = datetime.date(1600, 1, 1)
    days = np.arange(800 * 365) + (first - datetime.date(1970, 1, 1)).days
    dates = [first + datetime.timedelta(days=i) for i in range(len(days))]
    expected = [(d.year, d.month, d.day, d.timetuple().tm_yday, d.weekday()) for d in dates]
    np.testing.assert_array_equal(packed_parts(days, "date32[day]", WHOLE[:5]), expected)


def test_time_rises_within_a_year_and_meets_the_next():
    days = np.arange(-1000, 50_000)
    time = packed_parts(days, "date32[day]", ["time"])[:, 0]
    assert (np.diff(time) > 0).all()
    year = packed_parts(days, "date32[day]", ["year"])[:, 0]
    assert ((time >= year) & (time < year + 1)).all()


def test_cyclic_parts_lie_on_a_circle_and_close_it():
    names = packed_names(["month", "weekday"], True)
    assert names == ("month_sin", "month_cos", "weekday_sin", "weekday_cos")
    packed = packed_parts(np.arange(3000), "date32[day]", names)
    np.testing.assert_allclose(packed[:, 0] ** 2 + packed[:, 1] ** 2, 1.0, rtol=1e-6)
    months = packed_parts(
        np.array([0, 31, 334]), "date32[day]", ["month_sin", "month_cos"]
    )  # January, February, December
    near, across = np.linalg.norm(months[0] - months[1]), np.linalg.norm(months[0] - months[2])
    np.testing.assert_allclose(near, across, rtol=1e-6)


def test_null_is_nan_in_every_part():
    raw = np.array([np.nan, 0.0, -1.0])
    packed = packed_parts(raw, "timestamp[s]", ["year", "month_sin", "hour"])
    assert np.isnan(packed[0]).all()
    np.testing.assert_array_equal(packed[1:, [0, 2]], [[1970, 0], [1969, 23]])


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-(10**10), 10**10), min_size=1, max_size=50),
    st.sampled_from(["timestamp[s]", "timestamp[ns, tz=Europe/Berlin]", "timestamp[us, tz=+05:30]", "date32[day]"]),
    st.booleans(),
    st.sets(st.sampled_from([*CYCLES, *GROWING]), min_size=1),
    st.booleans(),
)
def test_the_graph_computes_what_numpy_does(values, arrow, nullable, parts, cyclic):
    kept = [p for p in sorted(parts) if "timestamp" in arrow or p not in ("hour", "minute", "second")] or ["year"]
    names = packed_names(kept, cyclic)
    if "date" in arrow:
        values = [v % 2**32 - 2**31 for v in values]
    raw = np.array(values, "int32" if "date" in arrow else "int64")
    raw = np.append(raw.astype("float64"), np.nan) if nullable else raw
    inputs = keras.Input((), dtype=str(raw.dtype))
    graph = keras.Model(inputs, packed_parts(inputs, arrow, names, KERAS))
    np.testing.assert_array_equal(np.asarray(graph(keras.ops.convert_to_tensor(raw))), packed_parts(raw, arrow, names))


def test_a_zone_that_nobody_knows_is_refused():
    with pytest.raises(ConfigError, match="does not know the time zone 'Mars/Olympus'"):
        zone_offsets("Mars/Olympus")


@pytest.mark.parametrize(
    ("text", "arrow", "raw"),
    [
        ("1970-01-02", "date32[day]", 1),
        ("1969-12-31", "date64[ms]", -1),
        ("1970-01-01T01:00:00+01:00", "timestamp[ms, tz=Europe/Berlin]", 0),
        ("2000-02-29 12:00", "timestamp[ns]", 951_825_600 * 10**9),
    ],
)
def test_a_date_as_text_is_a_raw_value(text, arrow, raw):
    assert raw_of(text, arrow) == raw

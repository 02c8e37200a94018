"""Which day a run is for, and which files that means."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from tests import sets
from tests.nightly import days
from trainer.config import Config, Window
from trainer.errors import ConfigError, DataError
from trainer.nightly import windows

NOW = datetime(2026, 7, 1, 22, 30, tzinfo=UTC)
#: 2013-03-01 02:00 in Berlin is 01:00 UTC.
MINUTES = int(datetime(2013, 3, 1, 1, 0, tzinfo=UTC).timestamp()) // 60


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, date(2026, 7, 1)),
        ({"KFIT_TIME_ZONE": "Europe/Berlin"}, date(2026, 7, 2)),
        ({"KFIT_SCHEDULE": "flights", "KFIT_JOB": f"flights-{MINUTES}"}, date(2013, 3, 1)),
        # Half past midnight in Berlin is the day before in UTC: the schedule's own zone decides.
        (
            {"KFIT_SCHEDULE": "f", "KFIT_JOB": f"f-{MINUTES - 90}", "KFIT_TIME_ZONE": "Europe/Berlin"},
            date(2013, 3, 1),
        ),
        ({"KFIT_SCHEDULE": "f", "KFIT_JOB": f"f-{MINUTES - 90}"}, date(2013, 2, 28)),
        # A Job triggered by hand has no scheduled time in its name.
        ({"KFIT_SCHEDULE": "flights", "KFIT_JOB": "flights-by-hand"}, date(2026, 7, 1)),
        ({"KFIT_SCHEDULE": "flights", "KFIT_JOB": f"other-{MINUTES}"}, date(2026, 7, 1)),
        # A Job of its own may end in digits.
        ({"KFIT_JOB": f"flights-{MINUTES}"}, date(2026, 7, 1)),
        ({"KFIT_DATE": "2013-05-06", "KFIT_SCHEDULE": "f", "KFIT_JOB": f"f-{MINUTES}"}, date(2013, 5, 6)),
    ],
)
def test_the_logical_date_comes_from_the_schedule_and_not_from_the_clock(environment, expected):
    assert windows.logical_date(environment, NOW) == expected


@pytest.mark.parametrize(
    ("environment", "says"),
    [({"KFIT_DATE": "yesterday"}, "is not a date"), ({"KFIT_TIME_ZONE": "Mars/North"}, "no time zone")],
)
def test_a_date_or_zone_that_is_none_is_a_configuration_error(environment, says):
    with pytest.raises(ConfigError, match=says):
        windows.logical_date(environment, NOW)


@pytest.mark.parametrize(
    ("words", "first", "last", "count"),
    [
        ({"last": "1d"}, "2013-02-28", "2013-02-28", 1),
        ({"last": "28d"}, "2013-02-01", "2013-02-28", 28),
        ({"last": 3, "until": 0}, "2013-02-27", "2013-03-01", 3),
        ({"last": "7d", "until": "-1d", "gap": "2d"}, "2013-02-20", "2013-02-26", 7),
    ],
)
def test_days_are_counted_back_from_the_date(words, first, last, count):
    days = windows.days_of(Window(uri="a/{date}", **words), date(2013, 3, 1))
    assert [days[0].isoformat(), days[-1].isoformat(), len(days)] == [first, last, count]
    assert days == sorted(set(days))


def test_a_days_uri_is_written_as_the_lake_has_it():
    day = date(2013, 3, 1)
    assert windows.uri_of(Window(uri="l/dt={date}/*.parquet", last=1), day) == "l/dt=2013-03-01/*.parquet"
    assert windows.uri_of(Window(uri="l/{date:%Y/%m/%d}/", last=1), day) == "l/2013/03/01/"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"uri": "a/b", "last": "3d"}, "has no {date}"),
        ({"uri": "a/{date}", "last": "3 weeks"}, "not a number of days"),
        ({"uri": "a/{date}", "last": "0d"}, "greater than 0"),
        ({"uri": "a/{date}", "last": "3d", "until": "1d"}, "less than or equal to 0"),
        ({"uri": "a/{date}", "last": "3d", "unti": "-1d"}, "did you mean 'until'"),
        ({"uri": "a/{date}"}, "missing"),
    ],
)
def test_a_wrong_window_is_refused_with_its_line(tmp_path, words, says):
    path = sets.write_job(tmp_path / "job.yaml", sets.job("x", "out", data__train=words))
    with pytest.raises(ConfigError, match=says):
        Config.load(path)


def config(tmp_path: Path, **changes) -> Config:
    return Config.load(sets.write_job(tmp_path / "job.yaml", days.job(tmp_path / "lake", tmp_path / "out", **changes)))


def test_windows_become_a_uri_a_day(tmp_path):
    days.write(tmp_path / "lake", 0, 9)
    resolved, spans = windows.resolve(config(tmp_path), date(2013, 3, 7))
    assert resolved.data.train == [f"{tmp_path}/lake/dt={days.on(d)}/*.parquet" for d in (1, 2, 3, 4)]
    assert resolved.data.holdout == [f"{tmp_path}/lake/dt={days.on(5)}/*.parquet"]
    assert spans["train"].as_json() == {"first": days.on(1), "last": days.on(4), "days": 4, "missing": []}


def test_a_missing_day_is_an_error_that_names_it_and_by_policy_a_warning_up_to_a_cap(tmp_path):
    days.write(tmp_path / "lake", 0, 1)
    days.write(tmp_path / "lake", 3, 5)
    with pytest.raises(DataError, match=r"1 of 4 days have no file: 2013-03-03"):
        windows.resolve(config(tmp_path), date(2013, 3, 7))
    warn = {"data__train__missing": "warn", "data__train__max_missing": 1}
    resolved, spans = windows.resolve(config(tmp_path, **warn), date(2013, 3, 7))
    assert spans["train"].missing == (date(2013, 3, 3),)
    assert len(resolved.data.train) == 3
    with pytest.raises(DataError, match="2 of 4 days have no file: 2013-02-28, 2013-03-03; missing: warn allows 1"):
        windows.resolve(config(tmp_path, **warn), date(2013, 3, 5))


def test_a_day_that_comes_late_stays_out_of_a_retry(tmp_path):
    days.write(tmp_path / "lake", 0, 9)
    late = date(2013, 3, 3)
    warn = config(tmp_path, data__train__missing="warn", data__train__max_missing=1)
    resolved, spans = windows.resolve(warn, date(2013, 3, 7), {"train": [late]})
    assert spans["train"].missing == (late,)
    assert f"dt={late}" not in " ".join(resolved.data.train)


def refused(config: Config) -> str:
    """What `check_fresh` says of a configuration."""
    with pytest.raises(ConfigError) as told:
        windows.check_fresh(config)
    return str(told.value)


def test_a_day_that_the_gate_scores_on_is_never_trained_on(tmp_path):
    days.write(tmp_path / "lake", 0, 9)
    overlapping = windows.resolve(config(tmp_path, data__train__until="-1d"), date(2013, 3, 7))[0]
    assert "1 of 1 shards of data.holdout are also in data.train" in refused(overlapping)
    windows.check_fresh(windows.resolve(config(tmp_path), date(2013, 3, 7))[0])


def test_a_holdout_inside_the_training_data_is_refused_however_it_is_spelled(tmp_path):
    """Folder and glob, window and folder, a link, `..`, file://; with a split of the rows for validation too."""
    days.write(tmp_path / "lake", 0, 9)
    lake, day = tmp_path / "lake", f"dt={days.on(5)}"
    (tmp_path / "alias").symlink_to(lake)
    for train in (str(lake), f"{lake}/*/*.parquet", f"{lake}/../lake/{day}", f"file://{lake}", str(tmp_path / "alias")):
        for holdout in (f"{lake}/{day}", [f"{tmp_path}/alias/{day}/part-0.parquet"]):
            for split in (None, {"fraction": 0.2}, {"newest": 0.2, "by": "dt"}):
                changes = {"data__train": train, "data__holdout": holdout, "data__validation": split}
                told = refused(config(tmp_path, **changes))
                assert "1 of 1 shards of data.holdout are also in data.train" in told
                assert "part-0.parquet" in told
    window = {"uri": f"{lake}/dt={{date}}/*.parquet", "last": "4d", "until": "-2d"}
    mixed = config(tmp_path, data__train=window, data__holdout=str(lake))
    assert "4 of 10 shards" in refused(windows.resolve(mixed, date(2013, 3, 7))[0])


def test_a_holdout_inside_the_validation_data_is_refused(tmp_path):
    days.write(tmp_path / "lake", 0, 3)
    first, second = (f"{tmp_path}/lake/dt={days.on(day)}" for day in (0, 1))
    told = refused(config(tmp_path, data__train=first, data__validation=second, data__holdout=second))
    assert "also in data.validation" in told


def test_a_holdout_of_its_own_is_taken(tmp_path):
    days.write(tmp_path / "lake", 0, 3)
    first, second = (f"{tmp_path}/lake/dt={days.on(day)}" for day in (0, 1))
    windows.check_fresh(config(tmp_path, data__train=first, data__holdout=second))


def test_a_window_that_nobody_gave_a_date_is_an_error_that_says_how(tmp_path):
    with pytest.raises(ConfigError, match="give --date"):
        _ = config(tmp_path).data.train_uris


def test_a_window_of_an_empty_lake_is_never_a_warning(tmp_path):
    (tmp_path / "lake").mkdir()
    with pytest.raises(DataError, match="4 of 4 days"):
        windows.resolve(config(tmp_path, data__train__missing="warn", data__train__max_missing=9), date(2013, 3, 7))

"""What `auto` becomes: by the training rows alone."""

import itertools

import pytest

from tests import sets
from trainer.config import Config, resolve_automatic
from trainer.config.automatic import automatic_batch_size, automatic_choices, automatic_epochs, describe_choices


def config(**fit: object) -> Config:
    document = sets.job("data", "out", fit=fit)
    return Config.model_validate(document["run"])


@pytest.mark.parametrize("replicas", [1, 2, 3, 4, 6, 8, 12, 16])
@pytest.mark.parametrize("rows", [2_000, 60_000, 10_000_000])
def test_an_automatic_batch_divides_among_any_usual_number_of_replicas(rows: int, replicas: int):
    assert automatic_batch_size(rows) % replicas == 0


def test_more_rows_never_mean_smaller_batches_or_more_epochs():
    rows = [1, 10, 100, 1000, 2300, 10_000, 50_000, 300_000, 10**7, 10**9]
    sizes, epochs = [automatic_batch_size(n) for n in rows], [automatic_epochs(n) for n in rows]
    assert all(a <= b for a, b in itertools.pairwise(sizes))
    assert all(a >= b for a, b in itertools.pairwise(epochs))
    assert all(size <= n for size, n in zip(sizes, rows, strict=True))
    assert (sizes[0], sizes[-1], epochs[0], epochs[-1]) == (1, 6144, 60, 12)


def test_large_tables_keep_more_steps_an_epoch_than_small_ones():
    assert [rows // automatic_batch_size(rows) for rows in (20_000, 236_000, 4_000_000)] == [52, 153, 651]


def test_what_the_job_says_stays_and_the_rest_is_resolved():
    asked = config(epochs=7)
    fit = resolve_automatic(asked, 10_000, 1_000).fit
    assert (fit.epochs, fit.batch_size) == (7, 192)
    assert fit.known_early_stopping is not None
    assert fit.known_early_stopping.patience == 3
    chosen = automatic_choices(asked.fit, fit)
    assert sorted(chosen) == ["batch_size", "early_stopping"]
    assert describe_choices(chosen) == "batch_size 192, early_stopping after 3 epochs without a better one"


def test_without_validation_nothing_stops_early():
    assert resolve_automatic(config(), 10_000, 0).fit.known_early_stopping is None
    assert resolve_automatic(config(early_stopping=None), 10_000, 500).fit.known_early_stopping is None

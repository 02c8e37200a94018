"""`predict` and `evaluate` on real files by real published models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from sklearn import metrics

from tests.serving.published import configuration, publish_untrained, write_set
from trainer.errors import ConfigError, DataError
from trainer.schema import LabelField, Layout
from trainer.serving.evaluation import evaluate
from trainer.serving.prediction import _with_predictions, predict

ROWS = 300


def rows(seed: int, count: int = ROWS) -> pa.Table:
    rng = np.random.default_rng(seed)
    return pa.table({"x": rng.normal(size=count), "label": rng.integers(0, 2, count), "note": ["a"] * count})


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model")
    write_set(folder / "data", rows(0))
    config = configuration(folder / "data", folder / "out", {"x": {"kind": "numeric", "scale": "standard"}})
    # A network whose logit grows with the value without bound.
    unbounded = config.model.model_copy(update={"numbers": "none", "activation": "relu"})
    return publish_untrained(config.model_copy(update={"model": unbounded}))[0]


def test_two_folders_with_the_same_file_names_are_answered_row_by_row(model, tmp_path):
    for day in (1, 2):
        write_set(tmp_path / f"day{day}", rows(day))
    said = predict(model, [str(tmp_path / "day1"), str(tmp_path / "day2")], str(tmp_path / "out"), rows=70)
    assert said == {"run": "r1", "rows": 600, "shards": 2, "output": str(tmp_path / "out"), "unanswered": 0}
    for day in (1, 2):
        answered = pq.read_table(tmp_path / f"out/day{day}/part-0.parquet")
        assert answered.drop_columns(["prediction"]).equals(rows(day))


def test_rows_that_lack_a_required_value_have_no_answer_and_are_counted(model, tmp_path):
    """The model's hidden layer is a relu, which may make a number of NaN."""
    values = np.random.default_rng(3).normal(size=ROWS)
    lacking = rows(3).set_column(0, "x", pa.array([None, np.nan, *values[2:]], pa.float64()))
    data = write_set(tmp_path / "data", lacking)
    assert predict(model, str(data), str(tmp_path / "out"))["unanswered"] == 2
    answers = pq.read_table(tmp_path / "out")["prediction"]
    assert answers.is_null().to_pylist() == [True, True, *[False] * (ROWS - 2)]
    scored = evaluate(model, str(data))
    rest = evaluate(model, str(write_set(tmp_path / "rest", lacking.slice(2))))
    assert (scored["rows"], scored["unanswered"]) == (ROWS, 2)
    assert scored["metrics"] == pytest.approx(rest["metrics"])
    served = tf.saved_model.load(f"{model}/model/saved_model").signatures["serving_default"]
    asked = served(x=tf.constant([np.nan, 0.5], tf.float64))["prediction"]
    assert np.isnan(asked[:, 0]).tolist() == [True, False]


def test_a_value_with_a_stand_in_may_be_missing(tmp_path):
    features = {"x": {"kind": "numeric", "impute": "mean"}}
    model, *_ = publish_untrained(configuration(write_set(tmp_path / "d", rows(0)), tmp_path / "out", features))
    lacking = rows(3, 2).set_column(0, "x", pa.array([None, 1.0], pa.float64()))
    data = write_set(tmp_path / "data", lacking)
    assert predict(model, str(data), str(tmp_path / "answers"))["unanswered"] == 0


def test_a_row_without_an_answer_has_no_class_and_no_probability(tmp_path):
    layout = Layout((), (), LabelField("label", "string", "multiclass", classes=("p", "q")))
    answered = _with_predictions(rows(3, 2), layout, np.array([[np.nan, np.nan], [0.2, 0.8]]), ["prediction", "p"])
    assert answered["prediction"].to_pylist() == [None, "q"]
    assert answered["p"].is_null().to_pylist() == [True, False]


def test_the_input_is_never_the_output(model, tmp_path):
    data = write_set(tmp_path / "d1", rows(1))
    before = (data / "part-0.parquet").read_bytes()
    with pytest.raises(ConfigError, match=r"the output .* is the input"):
        predict(model, str(data), str(data))
    assert [(f.name, f.read_bytes()) for f in data.iterdir()] == [("part-0.parquet", before)]


def test_a_column_of_the_predictions_name_is_kept_and_the_predictions_get_another(model, tmp_path):
    table = rows(1).append_column("prediction", pa.array(["mine"] * ROWS))
    data = write_set(tmp_path / "data", table)
    with pytest.raises(DataError, match="the data has a column 'prediction' already") as refused:
        predict(model, str(data), str(tmp_path / "out"))
    assert "--column" in refused.value.remedy
    assert not (tmp_path / "out").exists()
    predict(model, str(data), str(tmp_path / "out"), column="p")
    answered = pq.read_table(tmp_path / "out/part-0.parquet")
    assert answered.drop_columns(["p"]).equals(table)


def test_shards_without_rows_are_not_counted_as_written(model, tmp_path):
    write_set(tmp_path / "data", rows(1))
    pq.write_table(rows(1).slice(0, 0), tmp_path / "data/part-1.parquet")
    said = predict(model, str(tmp_path / "data"), str(tmp_path / "out"))
    assert (said["rows"], said["shards"]) == (ROWS, 1)
    assert [f.name for f in (tmp_path / "out").iterdir()] == ["part-0.parquet"]


def test_evaluate_is_exact(model, tmp_path):
    data = write_set(tmp_path / "data", rows(4, 2000))
    predict(model, str(data), str(tmp_path / "out"))
    answered = pq.read_table(tmp_path / "out").to_pydict()
    labels, scores = np.array(answered["label"]), np.array(answered["prediction"], np.float64)
    scored = evaluate(model, str(data), rows=512)
    assert scored["rows"] == 2000
    assert scored["undefined"] == {}
    assert scored["metrics"] == pytest.approx(
        {
            "loss": metrics.log_loss(labels, scores),
            "auc": metrics.roc_auc_score(labels, scores),
            "pr_auc": metrics.average_precision_score(labels, scores),
            "accuracy": metrics.accuracy_score(labels, scores > 0.5),
            "precision": metrics.precision_score(labels, scores > 0.5),
            "recall": metrics.recall_score(labels, scores > 0.5),
        },
        abs=1e-6,
    )


def test_the_log_loss_of_a_far_row_is_that_of_its_logit(model, tmp_path):
    """The probability of such a row is 0 or 1 in float32; its logit still grows with the value."""
    table = rows(4)
    losses = []
    for size in (1e6, 2e6):
        far = pa.table({"x": [size, -size], "label": [1, 1], "note": ["", ""]})
        data = write_set(tmp_path / f"{size:g}", pa.concat_tables([table, far]))
        losses.append(evaluate(model, str(data))["metrics"]["loss"] * (ROWS + 2))
    near = evaluate(model, str(write_set(tmp_path / "near", table)))["metrics"]["loss"] * ROWS
    assert losses[0] - near > 50  # two probabilities clipped at 1e-7 would cost 32 at most
    assert (losses[1] - near) / (losses[0] - near) == pytest.approx(2.0, rel=1e-3)


def test_the_log_losses_of_several_labels_are_those_of_their_logits(tmp_path):
    """As of one label: no probability is clipped, wherever among the predictions it stands."""
    table = rows(4).append_column("minutes", pa.array(np.arange(ROWS, dtype=np.float64) + 1e9))
    table = table.append_column("kind", pa.array(["p", "q", "r"] * (ROWS // 3)))
    table = table.append_column("tags", pa.array([["s"], ["t"], []] * (ROWS // 3)))
    labels = {"label": "binary", "minutes": "regression", "kind": "multiclass", "tags": "multilabel"}
    config = configuration(
        write_set(tmp_path / "data", table),
        tmp_path / "out",
        {"x": {"kind": "numeric", "scale": "standard"}},
        task=None,
        label=None,
        labels={name: {"task": task} for name, task in labels.items()},
    )
    unbounded = config.model.model_copy(update={"numbers": "none", "activation": "relu"})
    several = publish_untrained(config.model_copy(update={"model": unbounded}))[0]

    def losses(size: float) -> np.ndarray:
        """Both ends with every class of `kind`: the likeliest is right once, and far off twice."""
        ends = {"x": [size, -size] * 3, "label": [1] * 6, "minutes": [1e9] * 6, "kind": [*"ppqqrr"]}
        far = pa.table(ends | {"tags": [["s"], ["t"]] * 3, "note": [""] * 6})
        metrics = evaluate(several, str(write_set(tmp_path / f"{size:g}", far)))["metrics"]
        return np.array([metrics[f"{name}_loss"] for name in ("label", "kind", "tags")])

    near, far = losses(1e6), losses(2e6)
    assert (near > 20).all()  # a probability clipped at 1e-7 costs 16
    assert far / near == pytest.approx(2.0, rel=1e-3)


def test_what_is_not_defined_is_said(model, tmp_path):
    table = rows(4)
    data = write_set(tmp_path / "data", table.set_column(1, "label", pa.array(np.zeros(ROWS, np.int64))))
    scored = evaluate(model, str(data))
    assert np.isnan(scored["metrics"]["auc"])
    assert scored["undefined"]["auc"] == "every label is 0"


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (pa.array([0, 1, None]), "null or not finite in 1 rows"),
        (pa.array([0.0, 1.0, float("nan")]), "null or not finite in 1 rows"),
        (pa.array([0, 1, 2]), "does not know: 2"),
        (pa.array(["0", "1", "1"]), "is string; expected int64"),
    ],
)
def test_labels_that_cannot_be_scored_are_an_error_of_the_data(model, tmp_path, labels, message):
    data = write_set(tmp_path / "data", pa.table({"x": [1.0, 2.0, 3.0], "label": labels}))
    with pytest.raises(DataError, match=message):
        evaluate(model, str(data))


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"run": 3}', '{"run": "../../elsewhere"}', '{"run": ""}'])
def test_a_damaged_pointer_to_production_is_an_error_of_the_data(tmp_path, text):
    (tmp_path / "production.json").write_text(text)
    with pytest.raises(DataError, match=r"production\.json is damaged"):
        evaluate(str(tmp_path), str(tmp_path))


def test_a_damaged_manifest_is_an_error_of_the_data(model, tmp_path):
    import shutil

    shutil.copytree(Path(model) / "model", tmp_path / "model")
    data = write_set(tmp_path / "data", rows(1))
    for text in ("", "{", "[]", "{}", '{"layout": 1}', '{"layout": {"features": [], "label": {}}}'):
        (tmp_path / "model/MANIFEST.json").write_text(text)
        with pytest.raises(DataError, match="damaged"):
            evaluate(str(tmp_path), str(data))

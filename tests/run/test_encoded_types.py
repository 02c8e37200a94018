"""A set whose columns are stored as views and dictionaries is trained on, evaluated and predicted as it lies."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trainer.config import Config
from trainer.run.fit import fit
from trainer.serving.evaluation import evaluate
from trainer.serving.prediction import predict

ROWS = 200


def test_lists_of_dictionaries_and_views_go_the_whole_way(tmp_path):
    labels = np.arange(ROWS) % 2
    words = pa.array([w for label in labels for w in (("a", "b") if label else ("c", "b"))])
    offsets = pa.array(np.arange(0, 2 * ROWS + 1, 2, dtype="i4"))
    table = pa.table(
        {
            "tags": pa.ListArray.from_arrays(offsets, words.dictionary_encode()),
            "word": pa.array(["yes" if label else "no" for label in labels]).cast(pa.string_view()),
            "label": labels.astype("i1"),
        }
    )
    (tmp_path / "rows").mkdir()
    pq.write_table(table, tmp_path / "rows" / "a.parquet")
    config = Config.model_validate(
        {
            "data": {
                "train": str(tmp_path / "rows"),
                "validation": {"fraction": 0.2},
                "label": "label",
                "features": {"tags": {"kind": "sequence", "length": 2}, "word": {"kind": "categorical"}},
            },
            "task": "binary",
            "model": {"builtin": "mlp", "hidden": [8]},
            "fit": {"epochs": 6, "batch_size": 16},
            "output": {"uri": str(tmp_path / "models")},
        }
    )
    run = fit(config, run_id="r", devices="cpu").uri
    assert evaluate(run, str(tmp_path / "rows"))["metrics"]["auc"] == 1.0
    predict(run, str(tmp_path / "rows"), str(tmp_path / "answers"))
    predictions = pq.read_table(tmp_path / "answers")["prediction"].to_numpy()
    assert ((predictions > 0.5) == labels).all()

"""The proof of an export: asked raw rows in a clean process, it sees and says what the trained model does.

What the trained model sees comes from the feed's own packing of the same rows, not from the exported graph: the two are
different programs, and a model is published only where they agree. Rows are real ones and extremes of every column:
nulls, the least and the greatest, known and unseen values, texts with odd characters, lists too short and too long.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from trainer import user_code
from trainer.errors import DataError, ModelCodeError
from trainer.feed.packing.packed_inputs import packed_inputs
from trainer.feed.packing.raw_columns import raw_batches, raw_columns
from trainer.feed.statistics.prepare import Prepared
from trainer.schema import OF_NUMBERS, CodeField, Column, ColumnStatistics, LabelField, Layout, NumberField, ragged_key
from trainer.serving.signature import ServingModel

GOLDEN_ROWS = 64
#: Largest difference of a prediction, relative to its size. Both run the same float32 graph, but XLA or another
#: instruction set may order a sum otherwise.
TOLERANCE = 1e-4
#: The same where layers compute in half precision: four roundings. The graph of a SavedModel rounds a layer's product,
#: bias and activation once, and Keras step by step.
_HALF_PRECISION = {"bfloat16": 4 * 2.0**-8, "float16": 4 * 2.0**-11}
#: Largest relative difference of a packed number: one rounding to float32.
_ROUNDING = 1e-6
#: TensorFlow's threads take float32 numbers that are smaller for 0.
_FLUSHED = float(np.finfo(np.float32).tiny)
_ODD_TEXTS = ("", " ", "\0", "never seen", "Ünseen ﬁ 日本語", "a\nb", "0", "NaN", "[UNK]", "x" * 1000)


@dataclass(frozen=True)
class ProofRows:
    """Rows that an export is proved on.

    Attributes:
        raw: The exported model's inputs: column name -> [rows] or [rows, size].
        packed: What the feed gives the trained model for the same rows: `x` of `trainer.schema`.
        golden: How many of them, from the first, are rows of the set.
        ordinary: How many of them, from the first, have numbers of the usual size: predictions are compared on these.
            What a model makes of numbers that it never saw is rounding, and may differ by the order of a sum.
    """

    raw: Mapping[str, np.ndarray]
    packed: Mapping[str, np.ndarray]
    golden: int
    ordinary: int


def proof_rows(prepared: Prepared) -> ProofRows:
    """The first rows that belong to the set, and extremes of every column.

    Raises:
        DataError: A shard cannot be read any more.
        StorageError: The store is out of reach.
    """
    layout, data = prepared.layout, prepared.config.data
    weight = [layout.sample_weight] if layout.sample_weight else []
    batches = raw_batches(
        layout,
        [shard.uri for shard in prepared.shards if shard.rows],
        rows=GOLDEN_ROWS,
        extra=[*(label.name for label in layout.labels), *weight],
        row_filter=data.filter,
    )
    first = next(batches, None)
    if first is None:
        raise DataError("the set has no rows any more", where="run.data", remedy="leave the data as it is during a run")
    table = _plain(first[0].slice(0, GOLDEN_ROWS))
    known = prepared.statistics["train"].columns
    codes = {f.column.name: _accepted(f.column, table, _code_probes(f)) for f in layout.codes}
    imputed = [f for f in layout.numbers if data.features[f.column.name].impute is not None]
    nulls = {f.column.name: _accepted(f.column, table, [None]) for f in imputed}
    ends = {f.column.name: _accepted(f.column, table, _ends(f, known[f.column.name])) for f in layout.numbers}
    ordinary = pa.concat_tables([table, _with_probes(table, codes), _with_probes(table, nulls)])
    everything = pa.concat_tables([ordinary, _with_probes(table, ends)])
    raw, packed = raw_columns(layout.columns, everything), packed_inputs(layout, everything)
    return ProofRows(raw, packed, len(table), len(ordinary))


def _plain(table: pa.Table) -> pa.Table:
    """Without dictionaries, whose values could not be replaced."""
    for index, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(index, field.name, table.column(index).cast(field.type.value_type))
    return table


def _with_probes(table: pa.Table, probes: Mapping[str, pa.Array]) -> pa.Table:
    """Rows of a table over and over, with the probes of each column in their place."""
    rows = max([0, *map(len, probes.values())])
    out = table.take(pa.array(np.arange(rows) % len(table)))
    for index, name in enumerate(table.column_names):
        if name in probes and len(probes[name]):
            column = probes[name].take(pa.array(np.arange(rows) % len(probes[name])))
            out = out.set_column(index, table.schema.field(index), column)
    return out


def _accepted(column: Column, table: pa.Table, values: Iterable[Any]) -> pa.Array:
    """Those values that the column's type can hold and that the exported model takes."""
    arrow = table.schema.field(column.name).type
    parts: list[pa.Array] = []
    for value in values:
        try:
            one = _typed(value, arrow)
            raw_columns([column], pa.table({column.name: one}))
        except (pa.ArrowException, DataError, OverflowError, TypeError, ValueError):
            continue
        parts.append(one)
    return pa.concat_arrays(parts) if parts else pa.array([], arrow)


def _typed(value: Any, arrow: pa.DataType) -> pa.Array:
    if pa.types.is_temporal(arrow) and value is not None:
        whole = pa.array([int(value)], pa.int32() if pa.types.is_date(arrow) else pa.int64())
        return whole.cast(pa.date32()).cast(arrow) if pa.types.is_date(arrow) else whole.cast(arrow)
    if pa.types.is_integer(arrow) and value is not None:
        value = int(value)
    return pa.array([value], arrow)


def _code_probes(field: CodeField) -> list[Any]:
    """Values of a categorical column; of a sequence lists of them, of a text sentences."""
    known = list(field.vocabulary[:3] + field.vocabulary[-3:])
    odd: list[Any] = [*_ODD_TEXTS, *(f"{value}\0" for value in known), *(f"{value} {value}," for value in known)]
    integers = [int(v) for v in known if isinstance(v, int)]
    odd += [0, 1, -1, 2**31, 2**53, 2**53 + 1, 2**63 - 1, -(2**63), 2**63, 2**64 - 1]
    odd += [near for value in integers for near in (value - 1, value + 1)]
    values = [None, *known, *odd, True, False]
    if field.column.kind != "sequence":
        return values
    texts = "string" in field.column.arrow
    fitting = [v for v in values if v is None or isinstance(v, str) == texts]
    long = [*known, *known] * (field.column.size + 1)
    return [None, [], *([v] for v in fitting), long[: field.column.size], long[: field.column.size + 1]]


def _ends(field: NumberField, known: ColumnStatistics) -> list[Any]:
    """The least and greatest value of a number, and where integer types end."""
    ends: list[Any] = [known.minimum, known.maximum, known.mean, 0, -0.0, 1e-40]
    ends += [bound for bits in (8, 16, 32, 64) for bound in (2**bits - 1, 2 ** (bits - 1) - 1, -(2 ** (bits - 1)))]
    if field.column.kind == "vector":
        return [[end] * field.column.size for end in ends]
    return ends


def prove(local: Path, serving: ServingModel, rows: ProofRows, layout: Layout, expected: np.ndarray) -> None:
    """Compares the predictions of an exported model with those of the trained one.

    Args:
        local: The folder with both forms of the export.
        serving: What was exported.
        rows: From `proof_rows`.
        layout: The columns.
        expected: [rows, outputs]: what the trained model predicts on `rows.packed`; beyond `rows.ordinary` unused.

    Raises:
        ModelCodeError: The export does not load in a clean process, sees other values than the feed gave the model, or
            predicts otherwise.
    """
    answers = _ask_clean_process(local, serving, rows, layout)
    _compare_packed(answers, rows, layout)
    expected = expected[: rows.ordinary]
    computed = {layer.compute_dtype for layer in serving.model._flatten_layers()}
    tolerance = max(TOLERANCE, *(_HALF_PRECISION.get(dtype, 0.0) for dtype in computed))
    scale = np.concatenate([_scale(at.label, at.predictions(expected), rows) for at in layout.targets], axis=1)
    for form in ("keras", "saved_model"):
        predicted = answers[form][: rows.ordinary]
        # A NaN or an infinity proves nothing: relu makes a NaN or 0 of it, as the graph was optimised.
        wrong = np.isfinite(expected) & ~(np.abs(predicted - expected) <= tolerance * scale)
        if wrong.any():
            row, output = np.argwhere(wrong)[0]
            raise ModelCodeError(
                f"the exported {form} predicts {predicted[row, output]:.6g} where the trained model predicts "
                f"{expected[row, output]:.6g}",
                where="model/",
                remedy="look for a layer whose state or behaviour is not saved with the model",
            )


def _scale(label: LabelField, expected: np.ndarray, rows: ProofRows) -> np.ndarray:
    """What a difference is relative to: probabilities are of the size of 1, numbers of the size of the set's."""
    size = np.abs(expected - label.offset)
    usual = 1.0 if label.task not in OF_NUMBERS else float(np.median(size[: rows.golden]))
    return np.asarray(size + usual)


def _ask_clean_process(local: Path, serving: ServingModel, rows: ProofRows, layout: Layout) -> dict[str, np.ndarray]:
    scratch = local.parent
    by_input = {serving.inputs[name]: values for name, values in rows.raw.items()}
    numbers: dict[str, Any] = {name: values for name, values in by_input.items() if values.dtype != object}
    np.savez(scratch / "rows.npz", **numbers)
    # Texts as JSON: .npz without pickle holds no objects, and its fixed-width texts lose a NUL at the end.
    texts = {name: values.tolist() for name, values in by_input.items() if values.dtype == object}
    document = {
        "texts": texts,
        "packing": None if serving.packing is None else serving.packing.name,
        "labels": [label.name for label in layout.labels] if layout.further_labels else [],
        "packing_inputs": [serving.inputs[c.name] for c in layout.columns if c.kind != "image"],
    }
    (scratch / "rows.json").write_text(json.dumps(document))
    files = [str(local), *(str(scratch / name) for name in ("rows.npz", "rows.json", "out.npz"))]
    # -P: the script's own folder is not on the path, so nothing of kfit can shadow or help.
    done = subprocess.run(
        [sys.executable, "-P", str(Path(__file__).with_name("verify_export.py")), *files],
        capture_output=True,
        text=True,
        check=False,
        env=user_code.environment(),
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ModelCodeError(
            f"the exported model cannot be loaded in a clean process: {last}",
            where="model/",
            remedy="build the model of stock Keras layers, or register custom ones in a package the image has",
        )
    with np.load(scratch / "out.npz") as archive:
        return dict(archive)


def _compare_packed(answers: Mapping[str, np.ndarray], rows: ProofRows, layout: Layout) -> None:
    for key, expected in rows.packed.items():
        if f"packed/{key}" not in answers:
            continue  # pixels are the input itself
        seen = answers[f"packed/{key}"]
        if seen.shape != expected.shape:
            width = min(seen.shape[1], expected.shape[1])  # ragged: what lies beyond is padding
            seen, expected = seen[:, :width], expected[:, :width]
        with np.errstate(invalid="ignore", over="ignore"):
            same = (seen == expected) | (np.abs(seen - expected) <= _ROUNDING * np.abs(expected) + _FLUSHED)
        same |= np.isnan(seen) & np.isnan(expected)
        if not same.all():
            row, place = np.argwhere(~same)[0]
            raise ModelCodeError(
                f"the exported model sees {seen[row, place]} in column {_column_at(layout, key, int(place))!r} where "
                f"the feed gave {expected[row, place]}",
                where="model/",
                remedy="this is a fault of kfit: report the column's type and values; leaving it out goes round it",
            )


def _column_at(layout: Layout, key: str, place: int) -> str:
    fields = layout.numbers if key == "numbers" else layout.packed_codes
    for index, field in enumerate(layout.ragged):
        if key == ragged_key(index):
            return field.column.name
    return next(f.column.name for f in fields if f.start <= place < f.start + f.column.size)

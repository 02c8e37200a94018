"""The table of hostile inputs: `all_cases` lists them, by subject and name.

Long because it is a list: one short function a case.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests import sets
from tests.hostile.harness import Case
from tests.hostile.inputs import CONTROL, job_document, leaves, replaced, table_job, write_data, write_job
from tests.k8s.apiserver import Memory, Server, kubeconfig

DONE = frozenset({0})
REFUSED = frozenset({64})
SOUND_OR_REFUSED = frozenset({0, 64, 65, 69})
DATA = frozenset({0, 65})


def all_cases() -> list[Case]:
    """Every case, in a fixed order."""
    makers = (columns, fits, files, jobs, names, stored, kubeconfigs, answers)
    return [case for make in makers for case in make()]


# --- columns --------------------------------------------------------------------------------------

NAMES = [
    *["_x", "1abc", "é", "日本語", "/", "a\nb", "__index_level_0__", "a b", "self", "prediction", "A", "", " ", "."],
    *["..", "a.b", "a:0", "a/b", "\\", "'", '"', "`", "[b]", "{date}", "%s", "{}", "null", "true", "y", "=", "<<"],
    *["a\x00b", "\x1b[31m", "\u202e", "x" * 1_000, "🎉", "name", "inputs", "numbers", "codes", "training", "$x", "-"],
]
VALUES: dict[str, pa.Array] = {
    "int64 extremes": pa.array([2**63 - 1, -(2**63), 0, None] * 16),
    "uint64 extremes": pa.array([2**64 - 1, 0, 1, None] * 16, pa.uint64()),
    "int64 near 2^62": pa.array([2**62 + i for i in range(64)]),
    "float extremes": pa.array([1.7e308, -1.7e308, 5e-324, None] * 16),
    "float32 extremes": pa.array(np.array([3.4e38, -3.4e38, 1e-45, 0] * 16, np.float32)),
    "float16": pa.array(np.array([65504, -65504, 6e-8, 0] * 16, np.float16)),
    "NaN": pa.array([float("nan"), 1.0] * 32),
    "infinity": pa.array([float("inf"), 1.0] * 32),
    "all null": pa.nulls(64, pa.float64()),
    "type null": pa.nulls(64),
    "bool": pa.array([True, False, None, True] * 16),
    "decimal": pa.array([None, 1, 2, 3] * 16, pa.decimal128(38, 10)),
    "date": pa.array([0, -(2**31), 2**31 - 1, None] * 16, pa.date32()),
    "timestamp": pa.array([0, -(2**63) + 1, 2**63 - 1, None] * 16, pa.timestamp("us")),
    "time": pa.array([0, 1, 2, None] * 16, pa.time64("us")),
    "duration": pa.array([0, 1, 2, None] * 16, pa.duration("s")),
    "text": pa.array(["", "a", "a\x00", CONTROL] * 16),
    "long text": pa.array(["x" * 100_000, "y"] * 32),
    "text like markup": pa.array(["[red]", "[/b]", "<script>", ":smile:"] * 16),
    "binary": pa.array([b"", b"\xff", b"\x00", None] * 16),
    "dictionary": pa.array(["a", None, "b", "a"] * 16).dictionary_encode(),
    "list": pa.array([[1, 2], [], None, [3]] * 16),
    "list of texts": pa.array([["a", None], [], None, ["b"]] * 16),
    "list of lists": pa.array([[[1]], [], None, [[2, 3]]] * 16),
    "fixed list": pa.array([[1.0, 2.0], None] * 32, pa.list_(pa.float32(), 2)),
    "struct": pa.array([{"a": 1}, None] * 32),
    "map": pa.array([[("a", 1)], None] * 32, pa.map_(pa.string(), pa.int64())),
    "one value": pa.array([7] * 64),
    "numbers as text": pa.array(["1", "2", "x", ""] * 16),
}
KINDS: dict[str, dict[str, Any]] = {
    "numeric": {"kind": "numeric", "impute": "mean"},
    "one-hot": {"kind": "categorical"},
    "hash": {"kind": "categorical", "encode": "hash", "buckets": 8},
    "vector": {"kind": "vector", "size": 2, "impute": {"constant": 0}},
    "sequence": {"kind": "sequence", "length": 2},
    "text": {"kind": "text", "length": 4},
}
_CATEGORIES = {"int64 extremes", "uint64 extremes", "int64 near 2^62", "bool", "one value"}
_TEXTS = {"text", "long text", "text like markup", "dictionary", "numbers as text"}
#: What each kind takes; all else is refused. `float extremes` are beyond float32, integers near 2^62 beyond float64.
SOUND: dict[str, set[str]] = {
    "numeric": {
        *["int64 extremes", "uint64 extremes", "float32 extremes", "float16", "NaN", "bool", "decimal", "date"],
        *["timestamp", "one value"],
    },
    "one-hot": _CATEGORIES | _TEXTS,
    "hash": _CATEGORIES | _TEXTS,
    "vector": {"fixed list"},
    "sequence": {"list", "list of texts"},
    "text": _TEXTS,
}


def labels(rows: int = 64) -> pa.Array:
    """Both classes, in turn."""
    return pa.array([i // 2 % 2 for i in range(rows)], pa.int8())


def columns() -> Iterator[Case]:
    """Names and values of columns, as `check` and `statistics` read them."""

    def words(verb: str, name: str, values: pa.Array, feature: dict[str, Any], work: Path) -> list[str]:
        table = pa.table([values, labels(len(values))], names=[name, "label"])
        return ["trainer", verb, table_job(work, table, {name: feature})]

    number = pa.array([float(i) for i in range(64)])
    for index, name in enumerate(NAMES):
        make = partial(words, "check", name, number, KINDS["numeric"])
        yield Case("columns", f"name {index} {name[:12]!r}", make, DONE)
    for kind, feature in KINDS.items():
        for title, values in VALUES.items():
            make = partial(words, "statistics", "x", values, feature)
            yield Case("columns", f"{title} as {kind}", make, DONE if title in SOUND[kind] else frozenset({65}))


def fits() -> Iterator[Case]:
    """Whole runs: each proves in its export that the served model gives what the feed gave."""

    def words(names: list[str], values: pa.Array, feature: dict[str, Any], work: Path) -> list[str]:
        table = pa.table([*[values] * len(names), labels(len(values))], names=[*names, "label"])
        return ["trainer", "fit", table_job(work, table, dict.fromkeys(names, feature)), "--run", "r"]

    def published(folder: Path, out: str, err: str) -> list[str]:
        path = folder / "work" / "out" / "runs" / "r" / "result.json"
        status = json.loads(path.read_text())["status"] if path.is_file() else "no result"
        return [] if status == "succeeded" else [f"status {status}"]

    number = pa.array([float(i % 7) for i in range(64)])
    odd = [n for n in NAMES if n not in ("", " ", "\x1b[31m", "\u202e", "a\x00b")]
    yield Case("exports", "odd names at once", partial(words, odd, number, KINDS["numeric"]), DONE, published)
    ids = pa.array([2**53 + 1, 2**53, None, 2**62] * 16)
    yield Case("exports", "large ids", partial(words, ["id"], ids, KINDS["one-hot"]), DONE, published)
    yield Case("exports", "large ids hashed", partial(words, ["id"], ids, KINDS["hash"]), DONE, published)
    texts = pa.array(["", "=", "<<", CONTROL] * 16)
    yield Case("exports", "texts", partial(words, ["t"], texts, KINDS["one-hot"]), DONE, published)


# --- files ----------------------------------------------------------------------------------------


def files() -> Iterator[Case]:
    """Parquet files that are damaged, or no Parquet files."""

    def words(damage: Callable[[Path], None], work: Path) -> list[str]:
        write_data(work)
        damage(work / "data" / "part-0.parquet")
        return ["trainer", "statistics", write_job(work, job_document())]

    def flip(seed: int, last: bool, path: Path) -> None:
        raw = bytearray(path.read_bytes())
        draw = random.Random(seed)
        at = draw.randrange(len(raw) - 600, len(raw)) if last else draw.randrange(len(raw))
        raw[at] ^= 1 << draw.randrange(8)
        path.write_bytes(raw)

    def cut(share: float, path: Path) -> None:
        raw = path.read_bytes()
        path.write_bytes(raw[: int(len(raw) * share)])

    whole: dict[str, bytes] = {
        "empty": b"",
        "magic alone": b"PAR1",
        "magic twice": b"PAR1PAR1",
        "a footer of 4 GiB": b"PAR1" + b"\xff\xff\xff\xff" + b"PAR1",
        "a footer of 0 bytes": b"PAR1" + b"\0" * 4 + b"PAR1",
        "text": b"a,b\n1,2\n",
        "JSON": b'{"a": 1}',
        "zeros": b"\0" * 10_000,
        "gzip": b"\x1f\x8b\x08" + b"\0" * 100,
        "encrypted": b"PARE" + b"\0" * 100 + b"PARE",
    }
    for name, raw in whole.items():
        yield Case("files", name, partial(words, lambda p, raw=raw: p.write_bytes(raw)), frozenset({65}))
    for percent in range(5, 100, 5):
        yield Case("files", f"cut at {percent} %", partial(words, partial(cut, percent / 100)), frozenset({65}))
    for seed in range(30):
        for last in (False, True):
            where = "near the end" if last else "anywhere"
            yield Case("files", f"bit {seed} flipped {where}", partial(words, partial(flip, seed, last)), DATA)

    def other_table(make: Callable[[pa.Table], pa.Table], path: Path) -> None:
        pq.write_table(make(sets.table(60)), path)

    tables: dict[str, Callable[[pa.Table], pa.Table]] = {
        "a column less": lambda t: t.drop_columns(["x"]),
        "no label": lambda t: t.drop_columns(["label"]),
        "no rows": lambda t: t.slice(0, 0),
        "another type": lambda t: t.set_column(0, "x", pa.array(["a"] * 60)),
        "a column twice": lambda t: t.append_column("x", t.column("x")),
        "null labels": lambda t: t.set_column(4, "label", pa.nulls(60, pa.int8())),
    }
    for name, make in tables.items():
        yield Case("files", name, partial(words, partial(other_table, make)), DATA)

    def link(target: str, path: Path) -> None:
        path.unlink()
        path.symlink_to(target)

    for name, target in {"a link to itself": "part-0.parquet", "a link to nothing": "nowhere"}.items():
        yield Case("files", name, partial(words, partial(link, target)), frozenset({65, 69}))


# --- job files ------------------------------------------------------------------------------------

WRONG: dict[str, Any] = {
    "null": None,
    "empty text": "",
    "control characters": CONTROL,
    "an empty list": [],
    "an empty mapping": {},
    "minus one": -1,
    "a nested list": [[[1]]],
    "a long text": "x" * 2_000,
}
RAW: dict[str, str] = {
    "empty": "",
    "a list": "- 1\n",
    "two documents": "run: {}\n---\nrun: {}\n",
    "a tab": "run:\n\tdata: x\n",
    "a recursive alias": "run: &a [*a]\n",
    "an alias bomb": "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"{c}: &{c} [{', '.join(['*' + b] * 10)}]\n" for b, c in zip("abcdefgh", "bcdefghi", strict=True)),
    "nested lists": "run: " + "[" * 900 + "]" * 900,
    "nested mappings": "run: " + "{a: " * 900 + "1" + "}" * 900,
    "a huge number": "run: " + "9" * 5_000,
    "a Python object": "run: !!python/object/apply:os.system [touch ../foreign/x]\n",
    "an unknown tag": "run: !x 1\n",
    "a number that is none": "run: !!int x\n",
    "a NUL": "run: \x00\n",
    "a key twice": "run: {}\nrun: {}\n",
    "keys of all kinds": "1: a\nnull: b\ntrue: c\n[1, 2]: d\n",
    "control characters": 'run: {"a\\u001b[2J": 1}\n',
}
SETS = [
    "hidden[50000000]=1",
    "run.fit.epochs",
    "=1",
    "run=1",
    "run.fit=1",
    "run.data.train[0]=x",
    "run.fit.epochs={1",
    CONTROL + "=1",
]
SETS += [
    "a" + ".a" * 2_000 + "=1",
    "run.fit.epochs=" + "9" * 5_000,
    "run.fit.epochs=1e999",
    "run.fit.seed=-1",
    "run..x=1",
    "run.[0]=1",
]


def jobs() -> Iterator[Case]:
    """Job files with one value replaced, raw YAML, and `--set`."""

    def words(change: Callable[[dict[str, Any]], dict[str, Any]], more: list[str], work: Path) -> list[str]:
        write_data(work)
        return ["trainer", "check", write_job(work, change(job_document())), *more]

    for path in leaves(job_document()):
        if path[0] != "run":
            continue
        for name, value in WRONG.items():
            make = partial(words, partial(replaced, path=path, value=value), [])
            yield Case("job files", f"{'.'.join(map(str, path))} is {name}", make, SOUND_OR_REFUSED)
    for text in SETS:
        yield Case("job files", f"--set {text[:40]}", partial(words, lambda d: d, ["--set", text]), REFUSED)

    def raw(text: str, work: Path) -> list[str]:
        (work / "job.yaml").write_text(text)
        return ["trainer", "check", "job.yaml"]

    for name, text in RAW.items():
        yield Case("job files", f"YAML: {name}", partial(raw, text), REFUSED)


# --- names ----------------------------------------------------------------------------------------

IDS = [
    "",
    " ",
    ".",
    "..",
    "../r1",
    "r1/",
    "r1/../r1",
    "/r1",
    "r1\n",
    "r1\x00",
    CONTROL,
    "*",
    "r?",
    "x" * 300,
    "-x",
    "%2e%2e",
    "s3://x",
]
JOB_NAMES = ["", " ", ".", "..", "/", "a/b", "../jobs", "?x=1", "#", "A", "x" * 300, CONTROL, "%2F", "a b", "*"]


def stored_run(work: Path, run: str = "r1") -> Path:
    """A finished run below `work/out`."""
    folder = work / "out" / "runs" / run
    folder.mkdir(parents=True)
    result = {"run": run, "status": "succeeded", "exit_code": 0, "finished": "2026-01-01T00:00:00Z", "metrics": {}}
    (folder / "result.json").write_text(json.dumps(result))
    (folder / "config.json").write_text(json.dumps({"config": {}, "versions": {}}))
    return folder


def names() -> Iterator[Case]:
    """Ids of runs against storage, names of jobs against an API server."""

    def ids(verb: list[str], run: str, work: Path) -> list[str]:
        stored_run(work)
        return ["kfit", *verb, "--output-uri", "out", "--", run]

    def kept(folder: Path, out: str, err: str) -> list[str]:
        here = (folder / "work" / "out" / "runs" / "r1" / "result.json").is_file()
        return ([] if here else ["the run is gone"]) + (
            ["production moved"] if (folder / "work" / "out" / "production.json").exists() else []
        )

    for run in IDS:
        yield Case("names", f"promote {run[:20]!r}", partial(ids, ["promote"], run), REFUSED, kept)
        yield Case("names", f"compare {run[:20]!r}", partial(ids, ["compare"], run), frozenset({64, 69, 3}), kept)

    for verb in (["status"], ["wait", "--timeout", "1s"], ["cancel"], ["schedule", "--delete"], ["logs"], ["why"]):
        for name in JOB_NAMES:
            case = f"{verb[0]} {name[:20]!r}"
            yield _against_server("names", case, [*verb, "--", name], {}, frozenset({3, 64}))


FOREIGN = {"kind": "Job", "metadata": {"name": "db-migration", "namespace": "ml", "labels": {}}, "spec": {}}


def _against_server(
    subject: str, name: str, verb: list[str], answer: dict[str, Any], codes: frozenset[int], raw: bytes | None = None
) -> Case:
    """A verb of kfit against the recording server; nothing may be written on a collection, nothing deleted."""
    servers: list[Server] = []

    def words(work: Path) -> list[str]:
        memory = Memory()
        for group in ("batch/v1/namespaces/ml/jobs", "batch/v1/namespaces/ml/cronjobs"):
            memory.objects[f"/apis/{group}/db-migration"] = {**FOREIGN, "metadata": {**FOREIGN["metadata"], "uid": "u"}}
        server = Server(memory if raw is None else Raw(raw))
        servers.append(server)
        return ["kfit", "--kubeconfig", kubeconfig(work / "kubeconfig", server.url), *verb]

    def after(folder: Path, out: str, err: str) -> list[str]:
        server = servers.pop()
        server.close()
        return [f"{m} {p}" for m, p in server.requests if m in ("DELETE", "PUT", "PATCH", "POST")]

    return Case(subject, name, words, codes, after)


class Raw:
    """An API server that answers everything with the same bytes."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def answer(self, method: str, target: str, body: dict[str, Any] | None) -> Any:
        from tests.k8s.apiserver import Answer

        return Answer(200, iter([self._body]))


# --- what is stored, kubeconfigs, answers ---------------------------------------------------------

BROKEN: dict[str, bytes] = {
    "empty": b"",
    "null": b"null",
    "a list": b"[]",
    "a number": b"1e999",
    "an empty object": b"{}",
    "cut off": b'{"run": "r1", "status": ',
    "no text": b"\xff\xfe\x00",
    "NULs": b"\0" * 100,
    "deeply nested": b"[" * 100_000,
    "a huge number": b'{"run": "r1", "exit_code": ' + b"9" * 5_000 + b"}",
    "wrong types": b'{"run": [], "status": {}, "exit_code": "x", "metrics": 3, "finished": [], "history": 1}',
    "control characters": json.dumps(
        {"run": "../../x", "status": CONTROL, "reason": CONTROL, "finished": CONTROL}
    ).encode(),
    "HTML": b"<html></html>",
}
STORED = ["result.json", "config.json", "metrics.jsonl", "production.json", "history.json", "model/MANIFEST.json"]
VERBS: dict[str, list[str]] = {
    "history": ["kfit", "history", "--output-uri", "out"],
    "compare": ["kfit", "compare", "--output-uri", "out", "r1", "r2"],
    "prune": ["kfit", "prune", "--output-uri", "out", "--keep", "1", "--dry-run"],
    "rollback": ["kfit", "rollback", "--output-uri", "out", "--dry-run"],
}


def stored() -> Iterator[Case]:
    """Documents in storage that somebody damaged, as the verbs that read them meet them."""

    def words(verb: list[str], document: str, raw: bytes, work: Path) -> list[str]:
        for run in ("r1", "r2"):
            stored_run(work, run)
        at = work / "out" if document in ("production.json", "history.json") else work / "out" / "runs" / "r1"
        (at / document).parent.mkdir(exist_ok=True)
        (at / document).write_bytes(raw)
        return verb

    for verb, command in VERBS.items():
        for document in STORED:
            for name, raw in BROKEN.items():
                make = partial(words, command, document, raw)
                yield Case("stored JSON", f"{verb}: {document} is {name}", make, frozenset({0, 1, 3, 64, 65, 69}))


def kubeconfigs() -> Iterator[Case]:
    """Kubeconfigs that are damaged, and tokens that no header may hold."""

    def words(raw: bytes, work: Path) -> list[str]:
        (work / "kubeconfig").write_bytes(raw)
        return ["kfit", "--kubeconfig", "kubeconfig", "list"]

    def secret(folder: Path, out: str, err: str) -> list[str]:
        return ["the token is printed"] if "s3cret" in out + err else []

    texts = {**BROKEN, **{name: text.encode() for name, text in RAW.items()}}
    for name, raw in texts.items():
        yield Case("kubeconfigs", name, partial(words, raw), frozenset({64, 69}), secret)
    tokens = {"a newline": "s3cret\nx", "a NUL": "s3cret\0", "ü": "s3cretü", "control": "s3cret\x1b"}
    for name, token in tokens.items():

        def tokened(work: Path, token: str = token) -> list[str]:
            return ["kfit", "--kubeconfig", kubeconfig(work / "k", "http://127.0.0.1:9", {"token": token}), "list"]

        yield Case("kubeconfigs", f"a token with {name}", tokened, frozenset({64, 69}), secret)


def answers() -> Iterator[Case]:
    """Bodies that no API server should send."""
    odd_items = {"items": [None, 1, {}, {"metadata": None}, {"metadata": {"name": CONTROL}}]}
    bodies = {**BROKEN, "odd items": json.dumps(odd_items).encode(), "items are a text": b'{"items": "x"}'}
    for verb in (["list"], ["status", "a"], ["why", "a"], ["logs", "a"], ["schedule"]):
        for name, raw in bodies.items():
            codes = frozenset({0, 3, 64, 69})
            yield _against_server("API answers", f"{verb[0]}: {name}", verb, {}, codes, raw)

"""What can happen to several workers, each with what must hold."""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from tests import sets
from tests.faults.ends import differences, unpublished
from tests.multinode import worker_processes
from tests.multinode.worker_processes import End
from trainer.checkpoint.run_folder import RunFolder
from trainer.checkpoint.store import CheckpointStore

#: A lost worker is noticed within this, and no process is left.
LOST_WITHIN_S = 30.0


@dataclass
class Case:
    """One row of the table.

    Attributes:
        name: Of the case.
        holds: What must hold.
        check: Gives what did not hold, and what was found.
    """

    name: str
    holds: str
    check: Callable[[Workshop], tuple[list[str], str]]
    found: str = ""

    def run(self, shop: Workshop) -> list[str]:
        """What did not hold."""
        wrong, self.found = self.check(shop)
        return wrong


class Workshop:
    """One job, and runs of it that were not hurt: by number of workers and of devices."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.output = folder, str(folder / "out")
        self._count = 0
        self._whole: dict[tuple[int, int], RunFolder] = {}
        os.environ["KFIT_CACHE"] = str(folder / "cache")
        # 54 steps an epoch, the last of 6 rows; a window is about a third of the set.
        sets.write(folder / "data", shards=6, rows=360, row_group_size=20)
        document = sets.job(
            "data",
            self.output,
            data__shuffle="24k",
            output__checkpoint={"every": "20 steps", "keep": 2},
            output__tensorboard=False,
            model={"builtin": "mlp", "hidden": [8]},
            fit=sets.every_callback(
                epochs=3,
                optimizer={"name": "adam", "learning_rate": 0.005, "global_clip_norm": 1.0},
                early_stopping={"monitor": "val_auc", "patience": 3},
            ),
        )
        self.job = sets.write_job(folder / "job.yaml", document)

    def new_run(self) -> RunFolder:
        self._count += 1
        return RunFolder(self.output, f"r{self._count:03d}")

    def start(self, run: RunFolder, workers: int, devices: int = 1, **more: object) -> End:
        words = ["fit", str(self.job), "--run", run.run_id, "--devices", f"cpu:{devices}"]
        folders = dict.fromkeys(range(workers), self.folder) | dict(more.pop("folders", {}))  # type: ignore[call-overload]
        return worker_processes.run(words, self.folder / "said", workers, folders=folders, **more)  # type: ignore[arg-type]

    def whole(self, workers: int, devices: int = 1) -> RunFolder:
        """A run that was not hurt."""
        if (workers, devices) not in self._whole:
            run = self.new_run()
            end = self.start(run, workers, devices)
            if any(end.codes):
                raise SystemExit(f"undisturbed, {workers} workers: {end.codes}\n" + "\n".join(end.stderr))
            self._whole[workers, devices] = run
        return self._whole[workers, devices]

    def finish(self, run: RunFolder, workers: int, devices: int = 1) -> list[str]:
        """Starts a run again until its end."""
        end = self.start(run, workers, devices)
        if any(end.codes):
            return [f"started again: {end.codes} {end.stderr[0][-400:]}"]
        return unpublished(run)


def distance(one: RunFolder, other: RunFolder) -> tuple[float, float]:
    """The largest difference of a weight or optimizer variable, and of a metric of an epoch."""
    a, b = (CheckpointStore(f, keep=3, note=lambda _: None).newest() for f in (one, other))
    assert a is not None
    assert b is not None
    assert a.step == b.step, f"steps {a.step} and {b.step}"
    apart = [
        float(np.max(np.abs(a.groups[g][n].astype(float) - b.groups[g][n].astype(float)), initial=0.0))
        for g in ("weights", "optimizer", "best")
        for n in a.groups[g]
    ]
    metrics = [
        abs(x - y)
        for name in a.state["history"]
        for x, y in zip(a.state["history"][name], b.state["history"][name], strict=True)
    ]
    return max(apart), max(metrics)


def _equal(workers: int, devices: int) -> Callable[[Workshop], tuple[list[str], str]]:
    def check(shop: Workshop) -> tuple[list[str], str]:
        weights, metrics = distance(shop.whole(workers, devices), shop.whole(1, workers * devices))
        wrong = [] if max(weights, metrics) <= 1e-6 else ["apart"]
        return wrong and [
            f"weights {weights:.1e}, metrics {metrics:.1e}"
        ], f"weights {weights:.0e}, metrics {metrics:.0e}"

    return check


def _after(text: str, rng: random.Random) -> Callable[[str], bool]:
    """A moment in the second epoch."""
    calls = rng.randrange(5, 40)

    def when(said: str) -> bool:
        nonlocal calls
        calls -= text in said
        return calls < 0

    return when


def _lost(worker: int, number: int) -> Callable[[Workshop], tuple[list[str], str]]:
    def check(shop: Workshop) -> tuple[list[str], str]:
        run, whole = shop.new_run(), shop.whole(2)

        def hurt(children: list[int]) -> None:
            os.kill(children[worker], number)

        stopped = number == signal.SIGSTOP
        end = shop.start(run, 2, when=_after("epoch 1/3  done", random.Random(worker)), hurt=hurt)
        wrong = []
        if end.codes[1 - worker] != 76 or end.seconds > LOST_WITHIN_S + (5 if stopped else 0):
            wrong.append(f"codes {end.codes} after {end.seconds:.1f} s: {end.stderr[1 - worker][-300:]}")
        if f"worker {worker}" not in end.stderr[1 - worker].rpartition("error:")[2]:
            wrong.append(f"who was lost is not said: {end.stderr[1 - worker][-300:]}")
        wrong += shop.finish(run, 2) + differences(whole, run)
        return wrong, f"peer left with 76 after {end.seconds:.1f} s; same end"

    return check


def _asked_to_stop(worker: int) -> Callable[[Workshop], tuple[list[str], str]]:
    def check(shop: Workshop) -> tuple[list[str], str]:
        run, whole = shop.new_run(), shop.whole(2)

        def hurt(children: list[int]) -> None:
            os.kill(children[worker], signal.SIGTERM)

        end = shop.start(run, 2, when=_after("epoch 1/3  done", random.Random(9 + worker)), hurt=hurt)
        wrong = [] if end.codes == [75, 75] else [f"codes {end.codes}: {end.stderr}"]
        if sum("stopped by SIGTERM" in said for said in end.stderr) != 1:
            wrong.append("not one message")
        wrong += shop.finish(run, 2) + differences(whole, run)
        return wrong, f"both left with 75 after {end.seconds:.1f} s; same end"

    return check


def _wrong_data(shop: Workshop) -> tuple[list[str], str]:
    """Worker 1 sees shards whose pages are rotten; footers, sizes and times are those of the others."""
    elsewhere = shop.folder / "elsewhere"
    shutil.copytree(shop.folder / "data", elsewhere / "data", dirs_exist_ok=True)
    for file in (elsewhere / "data").iterdir():
        whole = shop.folder / "data" / file.name
        data = bytearray(file.read_bytes())
        footer = pq.ParquetFile(whole).metadata.serialized_size + 8
        data[4 : len(data) - footer] = bytes(len(data) - footer - 4)
        file.write_bytes(data)
        shutil.copystat(whole, file)
    shop.whole(2)  # whose statistics are in the cache
    end = shop.start(shop.new_run(), 2, folders={1: elsewhere})
    wrong = [] if end.codes == [65, 65] else [f"codes {end.codes}: {end.stderr}"]
    said = "".join(end.stderr)
    if said.count("error:") != 1 or "worker 1" not in said or "cannot be decoded" not in said:
        wrong.append(f"not one message that names worker 1: {said[-600:]}")
    return wrong, "both left with 65, one message"


def _elastic(before: tuple[int, int], after: tuple[int, int]) -> Callable[[Workshop], tuple[list[str], str]]:
    def check(shop: Workshop) -> tuple[list[str], str]:
        run, whole = shop.new_run(), shop.whole(*before)

        def hurt(children: list[int]) -> None:
            os.kill(children[0], signal.SIGTERM)

        end = shop.start(run, *before, when=_after("epoch 1/3  done", random.Random(3)), hurt=hurt)
        wrong = [] if set(end.codes) == {75} else [f"codes {end.codes}: {end.stderr}"]
        wrong += shop.finish(run, *after)
        weights, metrics = distance(run, whole)
        if max(weights, metrics) > 1e-5:
            wrong.append(f"weights {weights:.1e}, metrics {metrics:.1e} apart")
        return wrong, f"weights within {weights:.0e}, metrics within {metrics:.0e}"

    return check


def _missing(shop: Workshop) -> tuple[list[str], str]:
    place = {0: {"KFIT_MEETING_S": "3", "KFIT_NODES": "3"}, 1: {"KFIT_MEETING_S": "8", "KFIT_NODES": "3"}}
    end = shop.start(shop.new_run(), 2, environ=place)
    wrong = [] if end.codes == [76, 76] else [f"codes {end.codes}"]
    if "worker 2 did not come within 3 s" not in end.stderr[0]:
        wrong.append(f"who is missing is not said: {end.stderr[0]}")
    return wrong, f"both left with 76 after {end.seconds:.0f} s, named worker 2"


_AS_ONE = "weights and metrics of one process within 1e-6"
_SAME_END = "peers leave with 76 within 30 s; same end bit for bit"

CASES = [
    Case("2x1 = 1x2", _AS_ONE, _equal(2, 1)),
    Case("2x2 = 1x4", _AS_ONE, _equal(2, 2)),
    Case("4x1 = 1x4", _AS_ONE, _equal(4, 1)),
    Case("kill -9 worker 1", _SAME_END, _lost(1, signal.SIGKILL)),
    Case("kill -9 worker 0", _SAME_END, _lost(0, signal.SIGKILL)),
    Case("worker 1 is silent", _SAME_END, _lost(1, signal.SIGSTOP)),
    Case("SIGTERM to worker 1", "all leave with 75 at one step; same end bit for bit", _asked_to_stop(1)),
    Case("SIGTERM to worker 0", "all leave with 75 at one step; same end bit for bit", _asked_to_stop(0)),
    Case("wrong data in worker 1", "all end with 65 and one message", _wrong_data),
    Case("worker 2 never comes", "the others end with 76 and say who", _missing),
    Case("2 workers -> 1", "goes on; same end within 1e-5", _elastic((2, 1), (1, 1))),
    Case("2 workers -> 4", "goes on; same end within 1e-5", _elastic((2, 1), (4, 1))),
    Case("1 process -> 2 workers", "goes on; same end within 1e-5", _elastic((1, 2), (2, 1))),
]

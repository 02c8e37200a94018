"""What a run does when its store fails it, and what that costs.

    python -m tests.faults.store_faults [--only NAME]

On the wire (toxiproxy between the trainer and SeaweedFS): latency, resets in mid-body, a black hole, 503s,
refused credentials. In the store, between two starts of a run: cut, flipped and deleted objects, a manifest
of the future. On a disk (a small tmpfs): full, read-only. After each fault the run is started again and its
end compared with an undisturbed one. Prints a table; exits 1 where a run ended otherwise than it should.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

os.environ.setdefault("KFIT_STORAGE_DEADLINE_S", "4")

from rich.console import Console
from rich.table import Table

from tests import sets
from tests.faults import killable_run
from tests.faults.ends import differences, unpublished
from tests.faults.wire import Proxy, toxiproxy
from tests.servers import environment, free_ports, seaweed
from trainer import storage
from trainer.checkpoint.run_folder import RunFolder
from trainer.checkpoint.store import CheckpointStore

#: Steps of an epoch, epochs, steps between two checkpoints, and seconds a run goes on without one.
STEPS, EPOCHS, EVERY, PATIENCE_S = 9, 40, 6, 8


@dataclass(frozen=True)
class Outcome:
    """One line of the table."""

    fault: str
    did: str
    code: int
    lost_steps: int | None
    wrong: str = ""


@contextmanager
def refusing(status: int, code: str) -> Iterator[str]:
    """A server that answers everything with one S3 error."""

    class Refuses(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>".encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(b"" if self.command == "HEAD" else body)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = do  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Quiet."""

    (port,) = free_ports(1)
    server = ThreadingHTTPServer(("127.0.0.1", port), Refuses)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.shutdown()


class Workshop:
    """A job, and where its runs go."""

    def __init__(self, folder: Path, output: str, environ: dict[str, str]) -> None:
        self.folder, self.output, self._environ = folder, output, environ
        document = sets.job(
            sets.write(folder / "data", shards=3, rows=120, row_group_size=30),
            output,
            data__shuffle="8k",
            output__checkpoint={"every": f"{EVERY} steps", "keep": 3, "patience": f"{PATIENCE_S}s"},
            output__tensorboard=False,
            # Wide enough that a checkpoint is larger than what a broken connection lets through.
            model={"builtin": "mlp", "hidden": [256, 128]},
            fit={"epochs": EPOCHS, "batch_size": 32, "seed": 7},
        )
        self.job = sets.write_job(folder / "job.yaml", document)
        self.count = 0
        self.whole = self.new_run()
        end = self.start(self.whole)
        if end.code != 0:
            raise SystemExit(end.stderr)

    def new_run(self) -> RunFolder:
        self.count += 1
        return RunFolder(self.output, f"r{self.count:03d}")

    def start(self, run: RunFolder, watch: Callable[[str, int], bool] | None = None) -> killable_run.End:
        words = ["fit", str(self.job), "--run", run.run_id]
        return killable_run.run(words, self.folder / "process", environ=self._environ, watch=watch)

    def newest_step(self, run: RunFolder) -> int:
        newest = CheckpointStore(run, keep=3, note=lambda _: None).newest()
        return newest.step if newest else 0

    def again(self, fault: str, did: str, end: killable_run.End, run: RunFolder, allowed: tuple[int, ...]) -> Outcome:
        """Starts the run again, now that the fault is gone, and compares its end."""
        reached = _steps_reached(end.stderr)
        lost = max(0, reached - self.newest_step(run)) if end.code != 0 else 0
        wrong = [] if end.code in allowed else [f"exit {end.code}: {end.stderr[-400:]}"]
        if "Traceback" in end.stderr:
            wrong.append(f"a traceback: {end.stderr[end.stderr.index('Traceback') - 300 :][:1500]}")
        if end.code != 0:
            after = self.start(run)
            if after.code != 0:
                wrong.append(f"after the fault: exit {after.code}: {after.stderr[-400:]}")
        if not wrong:
            wrong = differences(self.whole, run) + unpublished(run)
        return Outcome(fault, did, end.code, lost, "; ".join(wrong))


def _steps_reached(said: str) -> int:
    done = [line for line in said.splitlines() if line.startswith("epoch ") and " done in " in line]
    return int(done[-1].split()[1].partition("/")[0]) * STEPS if done else 0


def _at_epoch(number: int, act: Callable[[], None]) -> Callable[[str, int], bool]:
    def watch(said: str, _: int) -> bool:
        if f" {number}/{EPOCHS}  done" not in said:
            return False
        act()
        return True

    return watch


def _did(end: killable_run.End, otherwise: str) -> str:
    """Its own words: the last error, else the last note about a checkpoint."""
    lines = [line for line in end.stderr.splitlines() if line.startswith(("error:", "checkpoint"))]
    return lines[-1].rpartition("checkpoints/")[2].removeprefix("error: ")[:90] if lines else otherwise


# --- on the wire ------------------------------------------------------------------------------------


def wire_faults(shop: Workshop, proxy: Proxy) -> Iterator[Outcome]:
    """Faults between a running trainer and its store."""

    def passing(fault: str, seconds: float, act: Callable[[], None], allowed: tuple[int, ...]) -> Outcome:
        run = shop.new_run()

        healing = threading.Timer(seconds, proxy.heal)

        def hurt() -> None:
            act()
            healing.start()

        end = shop.start(run, _at_epoch(3, hurt))
        healing.cancel()
        proxy.heal()
        return shop.again(fault, _did(end, "went on"), end, run, allowed)

    for_good = 60.0
    yield passing("latency of 5 s a request, for 12 s", 12, lambda: proxy.toxic("latency", latency=5000), (0, 69))
    yield passing("reset in mid-body, for 3 s", 3, lambda: proxy.toxic("limit_data", "upstream", bytes=20_000), (0,))
    yield passing("connections reset, for 3 s", 3, lambda: proxy.toxic("reset_peer", timeout=0), (0,))
    yield passing("black hole, for 3 s", 3, lambda: proxy.toxic("timeout", timeout=0), (0,))
    yield passing("black hole, for good", for_good, lambda: proxy.toxic("timeout", timeout=0), (69,))
    with refusing(503, "SlowDown") as server:
        yield passing("503 to everything, for 3 s", 3, lambda: proxy.send_to(server), (0,))
        yield passing("503 to everything, for good", for_good, lambda: proxy.send_to(server), (69,))
    with refusing(403, "InvalidAccessKeyId") as server:
        yield passing("wrong credentials in mid-run", for_good, lambda: proxy.send_to(server), (69,))


# --- in the store -----------------------------------------------------------------------------------


def damaged_objects(shop: Workshop) -> Iterator[Outcome]:
    """Damage done to the newest checkpoint of a run that was killed."""

    def object_of(run: RunFolder) -> str:
        names = [o.name for o in storage.list_objects(run.path("checkpoints")) if o.name.endswith("MANIFEST.json")]
        manifests = [json.loads(storage.read(run.path("checkpoints", n))) for n in sorted(names)]
        older = {p["sha256"] for m in manifests[:-1] for g in m["groups"].values() for p in g["parts"]}
        only = [p for p in manifests[-1]["groups"]["weights"]["parts"] if p["sha256"] not in older]
        return run.path("checkpoints", "objects", f"{only[0]['token']:08d}", only[0]["sha256"])

    def flip(run: RunFolder) -> None:
        data = bytearray(storage.read(object_of(run)))
        data[len(data) // 2] ^= 1
        storage.write(object_of(run), bytes(data))

    def cut(run: RunFolder) -> None:
        storage.write(object_of(run), storage.read(object_of(run))[:-100])

    def future(run: RunFolder) -> None:
        uri = run.path("checkpoints", "step-99999999", "MANIFEST.json")
        storage.write(uri, b'{"format": 99, "step": 99999999, "token": 1}')

    def torn(run: RunFolder) -> None:
        storage.write(run.path("checkpoints", "step-99999998", "MANIFEST.json"), b'{"format": 2, "st')

    for fault, damage in (
        ("truncated object", cut),
        ("flipped bit", flip),
        ("deleted object", lambda run: storage.delete(object_of(run))),
        ("manifest of the future", future),
        ("half a manifest", torn),
    ):
        run = shop.new_run()
        shop.start(run, lambda said, child: f" 4/{EPOCHS}  done" in said and _kill(child))
        before = shop.newest_step(run)
        damage(run)
        after = shop.newest_step(run)
        end = shop.start(run)
        notes = [line for line in end.stderr.splitlines() if line.startswith(("checkpoint ", "going on"))]
        did = "; ".join(n.replace("trying the one before", "the one before") for n in notes)[:110]
        wrong = [] if end.code == 0 else [f"exit {end.code}: {end.stderr[-400:]}"]
        wrong += differences(shop.whole, run) if end.code == 0 else []
        yield Outcome(fault, did, end.code, before - after, "; ".join(wrong))


def _kill(child: int) -> bool:
    os.kill(child, signal.SIGKILL)
    return True


# --- on a disk --------------------------------------------------------------------------------------


def disk_faults(folder: Path) -> Iterator[Outcome]:
    """A disk that is full, or read-only, from some moment on."""
    disk = folder / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "kfit-test", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        print("skipped: full disk, read-only folder: mounting a tmpfs is not allowed here", file=sys.stderr)
        return
    try:
        shop = Workshop(folder / "disk-job", str(disk / "out"), {})

        def fill() -> None:
            # Without a buffer: closing a buffered file would write again what did not fit.
            with (disk / "ballast").open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
                while True:
                    ballast.write(bytes(1 << 16))

        def remount(mode: str) -> None:
            subprocess.run(["mount", "-o", f"remount,{mode}", str(disk)], check=True)

        for fault, act, undo in (
            ("full disk", fill, lambda: (disk / "ballast").unlink()),
            ("read-only folder", lambda: remount("ro"), lambda: remount("rw")),
        ):
            run = shop.new_run()
            end = shop.start(run, _at_epoch(3, act))
            undo()
            yield shop.again(fault, _did(end, "went on"), end, run, (69,))
    finally:
        subprocess.run(["umount", str(disk)], check=False)


def all_faults(only: str) -> Iterator[Outcome]:
    """Every fault whose name contains `only`, one after the other."""
    with ExitStack() as closing:
        folder = Path(closing.enter_context(tempfile.TemporaryDirectory(prefix="kfit-faults-")))
        os.environ["KFIT_CACHE"] = str(folder / "cache")
        server = closing.enter_context(seaweed(folder / "s3"))
        os.environ.update(environment(server.endpoint))
        if "disk" in only or not only:
            yield from disk_faults(folder)
        if "store" in only or not only:
            yield from damaged_objects(Workshop(folder / "store", f"s3://{server.bucket}/store", {}))
        if "wire" not in only and only:
            return
        if not shutil.which("toxiproxy-server"):
            print("skipped: faults on the wire: no toxiproxy-server on PATH", file=sys.stderr)
            return
        proxy = closing.enter_context(toxiproxy(server.endpoint))
        through = {"AWS_ENDPOINT_URL": proxy.endpoint}
        yield from wire_faults(Workshop(folder / "wire", f"s3://{server.bucket}/wire", through), proxy)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", choices=["", "wire", "store", "disk"])
    asked = parser.parse_args()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("fault", "what the run did", "exit", "lost steps", "then"):
        table.add_column(name, justify="right" if name in ("exit", "lost steps") else "left")
    wrong = 0
    for one in all_faults(asked.only):
        wrong += bool(one.wrong)
        verdict = one.wrong or "ends as undisturbed"
        table.add_row(one.fault, one.did, str(one.code), str(one.lost_steps), verdict)
        print(f"{one.fault}: exit {one.code}, {one.wrong or 'as it should'}", file=sys.stderr)
    Console(width=None if sys.stdout.isatty() else 200).print(table)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

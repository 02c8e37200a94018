"""`kfit tensorboard`: TensorBoard on what runs left in storage."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from k8s.commands.arguments import complete_runs
from k8s.commands.options import Target, examples, place_options, target_options
from k8s.errors import AccessError, NotFound, RefusedError

if TYPE_CHECKING:
    from k8s.actions.run_place import RunPlace

#: How often new events are looked for in storage; TensorBoard itself looks as often.
_EVERY_S = 15


@click.command(
    epilog=examples(
        "kfit tensorboard flights-1a2b3c4d flights-5e6f7a8b   # two runs side by side",
        "kfit tensorboard -f job.yaml                         # all runs of a job file",
    )
)
@click.argument("runs", nargs=-1, shell_complete=complete_runs)
@place_options()
@click.option("--port", type=click.IntRange(0, 65535), default=6006, show_default=True, help="0: any that is free.")
@target_options
def tensorboard(runs: tuple[str, ...], output_uri: str, port: int, target: Target) -> None:
    """Show the curves of RUNs in TensorBoard, until Ctrl-C.

    Without RUN those of all runs of -f JOB or --output-uri. Files in object storage are copied into a temporary
    folder, new ones every 15 seconds; a run uploads its own with each checkpoint. TensorBoard listens on this machine
    alone.
    """
    import importlib.util
    import signal
    import subprocess
    import sys
    import tempfile
    from pathlib import Path

    from k8s.actions.event_files import EventFiles

    if importlib.util.find_spec("tensorboard") is None:
        raise AccessError(
            "TensorBoard is not installed here", where="kfit tensorboard", remedy="pip install tensorboard"
        )
    places = _places(runs, output_uri, target)
    with tempfile.TemporaryDirectory(prefix="kfit-tensorboard-") as scratch:
        files = EventFiles(places, Path(scratch))
        files.fetch()
        words = ["--logdir", scratch, "--port", str(port), "--reload_interval", str(_EVERY_S)]
        # A session of its own: Ctrl-C is for kfit, which ends TensorBoard without its traceback.
        board = subprocess.Popen([sys.executable, "-m", "tensorboard.main", *words], start_new_session=True)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        files.keep_fetching(_EVERY_S)
        try:
            code = board.wait()
        except KeyboardInterrupt:
            return
        finally:
            files.stop()
            board.terminate()
            board.wait()
    raise RefusedError(
        f"TensorBoard ended by itself with exit code {code}",
        where="kfit tensorboard",
        remedy="its message stands above; where the port is taken, --port 0 takes a free one",
    )


def _places(runs: tuple[str, ...], output_uri: str, target: Target) -> list[RunPlace]:
    """The folders of the runs that the command line means; all of a job's without RUN.

    Raises:
        NotFound: There is no such run, or none of them has written any curve yet.
        click.UsageError: Neither runs nor a job are named.
    """
    from k8s.actions.run_place import RunPlace, find_place
    from trainer import storage

    if not runs and not output_uri:
        raise click.UsageError("Missing argument 'RUN': Jobs' names; or -f JOB for all runs of a job file.")
    places = [find_place(target.open, run, output_uri, verb="tensorboard") for run in dict.fromkeys(runs)]
    if not runs:
        places = [RunPlace(output_uri, run) for run in storage.list_folders(storage.join(output_uri, "runs"))]
    folders = [storage.join(place.uri, "tensorboard") for place in places]
    if not any(storage.list_objects(folder, missing_ok=True) for folder in folders):
        named = ", ".join(place.run for place in places) or "any run"
        raise NotFound(
            f"no TensorBoard files of {named}",
            where=output_uri or places[0].output,
            remedy="a run writes them where output.tensorboard is true, and uploads them with its first checkpoint",
        )
    return places

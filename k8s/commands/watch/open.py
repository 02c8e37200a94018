"""`kfit open`: a run's report in the browser, fetched from storage."""

from __future__ import annotations

import click

from k8s.commands.arguments import run_or_newest
from k8s.commands.options import Target, examples, place_options, target_options
from trainer.progress import terminal


@click.command(
    "open",
    epilog=examples(
        "kfit open flights                                   # of the newest run of the job file",
        "kfit open flights-1a2b3c4d -f job.yaml --print      # its Job is gone; only the file's path",
    ),
)
@place_options()
@click.option("--print", "print_path", is_flag=True, help="Open no browser: print the path of the file.")
@target_options
@run_or_newest
def open_report(run: str, output_uri: str, print_path: bool, target: Target) -> None:
    """Show the report of RUN in a browser.

    It has curves, quality, columns, and where the time went. A report in object storage is copied into the cache of
    this machine. Where there is no browser the path of the file is printed. After the Job is gone -f JOB or
    --output-uri says where the run wrote, unless another Job of the same file is still there.
    """
    import webbrowser

    from k8s.actions.run_place import find_place
    from k8s.actions.stored_files import fetch_report

    path = fetch_report(find_place(target.open, run, output_uri, verb="open"))
    if print_path or not webbrowser.open(path.as_uri()):
        terminal.echo(path)
    else:
        terminal.echo(f"opened {path}", err=True)

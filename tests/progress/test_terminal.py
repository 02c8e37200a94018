"""Foreign text on a terminal: nothing in it is obeyed, nothing in it is markup, all of it can be read."""

import io
import json

import pyarrow as pa
import pytest
from rich.table import Table

from k8s.cli import cli as kfit
from tests.hostile.inputs import table_job
from trainer.cli import cli, run
from trainer.errors import KfitError
from trainer.progress import terminal
from trainer.progress.progress import make_progress, metrics_table

HOSTILE = [
    "\x1b[2J",  # clears the screen
    "\x1b]0;title\x07",  # renames the window
    "\x9b31m",  # one-byte control sequence introducer
    "good\rbad",  # overwrites the line
    "a\x00b",
    "\u202egnp.exe",  # turns the reading direction
    "\u2028",
    "\udcff",  # half of a pair: cannot be encoded
    "\U000e0041",  # a tag that nobody sees
]
MARKUP = ["[/b]", "timestamp[us]", "[red]x[/red]", "[link=http://x]y[/link]", ":smile:"]


def is_harmless(text):
    text.encode()
    return all(line.isprintable() for line in text.split("\n"))


def printed(*things):
    out = io.StringIO()
    console = terminal.console(file=out, width=100)
    for thing in things:
        console.print(thing)
    return out.getvalue()


@pytest.mark.parametrize("text", HOSTILE)
def test_what_a_terminal_obeys_is_shown_as_an_escape(text):
    shown = terminal.visible(text)
    assert is_harmless(shown)
    assert json.loads(f'"{shown}"') == text
    assert terminal.visible(shown) == shown


@pytest.mark.parametrize("text", ["plain", "Grüße", "日本語", "x" * 10_000, "50\u00a0%", "🎉", r"\u001b stays"])
def test_what_is_harmless_stays(text):
    assert terminal.visible(text) == text


@pytest.mark.parametrize("text", [*HOSTILE, *MARKUP])
def test_a_table_shows_names_and_values_as_they_are(text):
    table = Table(title=text)
    table.add_column(text)
    table.add_row(text)
    assert printed(table).count(terminal.visible(text)) == 3
    assert is_harmless(printed(table, text, terminal.cell(text)))


def test_cells_with_escapes_keep_the_columns_in_line():
    table = Table(box=None, show_header=False)
    table.add_row("a\x1bb", "X")
    table.add_row("ab", "X")
    first, second = printed(table).splitlines()
    assert first.index("X") == second.index("X")


@pytest.mark.parametrize("text", [*HOSTILE, *MARKUP])
def test_echo_prints_one_readable_line(text, capsys):
    terminal.echo(f"error: {text}", err=True)
    assert capsys.readouterr().err == f"error: {terminal.visible(text)}\n"


def test_echo_keeps_the_lines_of_a_message(capsys):
    terminal.echo("what\n  remedy\twith a tab")
    assert capsys.readouterr().out == "what\n  remedy\twith a tab\n"


def test_json_means_the_same_after_it_was_made_visible(capsys):
    document = {"name": "\x9b31m", "other": "\u202ex", "lines": "a\nb"}
    terminal.echo(json.dumps(document, ensure_ascii=False, indent=2))
    shown = capsys.readouterr().out
    assert is_harmless(shown)
    assert json.loads(shown) == document


def test_nothing_in_an_error_passes_for_another_message():
    error = KfitError("one\nerror: two\n  a table", where="a\nerror: b", remedy="its columns: c\nerror: d\x1b[2J")
    assert terminal.error_text(error).split("\n") == [
        r"a\u000aerror: b: one",
        "  error: two",
        "  a table",
        r"  its columns: c\u000aerror: d\u001b[2J",
    ]


@pytest.mark.parametrize("verb", ["check", "statistics", "fit", "init", "missing"])
def test_a_line_break_in_a_column_name_begins_no_line_of_its_own(verb, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    names = ["a\nerror: forged", "z\nerror: forged", "label"]
    table = pa.table([[float(i) for i in range(64)], [1.0, 2.0] * 32, [0, 1] * 32], names=names)
    feature = "x" if verb == "missing" else names[0]
    table_job(tmp_path, table, {feature: {"kind": "numeric"}})
    if verb == "init":
        assert run(kfit, ["init", "data", "--label", "x"]) == 64
    else:
        assert run(cli, ["check" if verb == "missing" else verb, "job.yaml"]) == (65 if verb == "missing" else 0)
    shown = capsys.readouterr()
    forged = [line for line in (shown.out + shown.err).splitlines() if line.lstrip(" ").startswith("error: forged")]
    assert forged == []
    assert r"\u000aerror: forged" in shown.out + shown.err


def test_parts_of_a_line_have_styles_and_foreign_text_has_none(capsys):
    terminal.styled([("done", {"fg": "green"}), (" \x1b[31mred", {})])
    assert capsys.readouterr().out == "done \\u001b[31mred\n"


@pytest.mark.parametrize("is_terminal", [False, True])
def test_progress_shows_metrics_of_any_name(is_terminal):
    out = io.StringIO()
    progress = make_progress(terminal.console(file=out, width=200, force_terminal=is_terminal), environ={})
    progress.note("a \x1b[2J b")
    progress.start(epochs=1, steps=1, rows_per_step=1)
    progress.step(0, 1, lambda: {"my\x1b]0;x\x07[/b]": 0.5})
    progress.epoch_end(0, {"my\x1b]0;x\x07[/b]": 0.5}, best=True)
    progress.stop()
    assert "a \\u001b[2J b" in out.getvalue()
    assert "my\\u001b]0;x\\u0007[/b] 0.5000" in out.getvalue()
    assert "\x1b]0" not in out.getvalue()
    assert "\x1b[2J" not in out.getvalue()


def test_the_table_of_metrics_shows_any_name():
    assert "\\u001b[/b]" in printed(metrics_table({"metrics": {"train": {"\x1b[/b]": 1.0}}}))

"""The whole command line at once: help, man pages, completion, and the page that compares it with other tools."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from k8s.cli import ALIASES, GROUPS, VERBS, cli
from k8s.commands.cluster.man import pages
from trainer.errors import ConfigError

OUTPUT = {"-o", "--output", "--output-format"}
PAGE = Path(__file__).parents[2] / "docs" / "command-line.md"


def commands(words: tuple[str, ...], command: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield " ".join(words) or "kfit", command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for verb in command.list_commands(context):
            yield from commands((*words, verb), command.get_command(context, verb))


ALL = dict(commands((), cli))


def flags(command: click.Command) -> list[tuple[str, ...]]:
    return [
        tuple(sorted([*p.opts, *p.secondary_opts], key=len))
        for p in command.params
        if isinstance(p, click.Option) and not p.hidden
    ]


def rows(heading: str) -> list[list[str]]:
    section = PAGE.read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_the_page_has_every_verb_and_no_other():
    listed = [name for row in rows("Verbs") for name in names(row[0])]
    groups = {name for name, command in ALL.items() if isinstance(command, click.Group)}
    assert sorted(listed) == sorted({*ALL, "apply"} - groups)
    assert set(ALIASES) - {"run"} == {"apply"}  # the older `run --local` is told in the row of `fit`


def test_the_page_has_every_flag_with_the_verbs_that_take_it():
    parsed: dict[tuple[str, ...], set[str]] = {}
    for verb, command in ALL.items():
        for spelling in flags(command):
            parsed.setdefault(spelling, set()).add(verb)
    of_the_cluster = parsed["--context",]
    listed: dict[tuple[str, ...], set[str]] = {}
    for row in rows("Flags"):
        verbs = of_the_cluster if row[1] == "cluster verbs" else set(row[1].split(", "))
        listed.setdefault(tuple(sorted(names(row[0]), key=len)), set()).update(verbs)
    assert listed == parsed


def test_every_row_of_the_page_tells_of_all_four_tools():
    assert {len(row) for row in rows("Verbs")} == {6}
    assert {len(row) for row in rows("Flags")} == {7}
    for row in [*rows("Verbs"), *rows("Flags")]:
        *tools, reason = row[-5:]
        assert all(tools), row
        assert reason.strip() or any(tool != "–" for tool in tools), f"no tool has it, and no reason is given: {row}"


def test_one_spelling_has_one_kind_of_value_everywhere_but_where_the_page_says_why():
    kinds: dict[str, set[str]] = {}
    for command in ALL.values():
        for p in command.params:
            if isinstance(p, click.Option):
                for word in p.opts:
                    kinds.setdefault(word, set()).add("flag" if p.is_flag else p.type.name)
    # -f follows in `logs`; -o may come twice where --output was a URI; `submit --dry-run` says where;
    # `--to` is a day or a run.
    assert {word for word, found in kinds.items() if len(found) > 1} <= {"-f", "--dry-run", "--to"} | OUTPUT


def test_no_line_of_help_is_cut_on_a_terminal_of_80_columns():
    text = CliRunner().invoke(cli, ["--help"], terminal_width=80).output
    assert not [line for line in text.splitlines() if line.endswith("...") and not line.startswith("Usage")]
    assert all(f"\n  {verb}" in text for verbs in GROUPS.values() for verb in verbs)


def test_help_has_the_first_sentence_of_each_verb():
    told = {name: verb.text for verbs in GROUPS.values() for name, verb in verbs.items()}
    assert told == {name: ALL[name].get_short_help_str(200) for name in VERBS}


@pytest.fixture(scope="module")
def man(tmp_path_factory):
    folder = tmp_path_factory.mktemp("man") / "man1"
    done = CliRunner().invoke(cli, ["man", str(folder)])
    assert done.exit_code == 0, done.output
    return folder


def test_every_verb_has_a_man_page(man):
    expected = {"kfit.1", *(f"kfit-{name.replace(' ', '-')}.1" for name in ALL if name != "kfit")}
    assert {path.name for path in man.iterdir()} == expected


def test_a_man_page_has_what_the_help_has(man):
    for verb, command in ALL.items():
        path = man / ("kfit.1" if verb == "kfit" else f"kfit-{verb.replace(' ', '-')}.1")
        text = path.read_text().replace("\\-", "-")
        sections = re.findall(r"^\.SH (.+)$", text, flags=re.MULTILINE)
        assert sections[:3] == ["NAME", "SYNOPSIS", "DESCRIPTION"]
        assert verb == "kfit" or "EXAMPLES" in sections
        assert all(word in text for spelling in flags(command) for word in spelling), verb


def test_man_reads_the_pages_without_a_complaint(man):
    groff = shutil.which("groff")
    if groff is None:
        pytest.skip("groff is not installed here")
    for path in man.iterdir():
        done = subprocess.run([groff, "-man", "-ww", "-Tutf8", "-z", path], capture_output=True, text=True, check=True)
        assert done.stderr == "", path.name


def test_text_that_roff_would_obey_is_shown():
    @click.command(help="\\fBbold\n\n.so /etc/passwd")
    def trap():
        pass

    (text,) = pages(trap).values()
    assert "\\efBbold" in text
    assert "\n\\&.so /etc/passwd" in text


def test_a_folder_for_man_pages_that_cannot_be_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot write man pages"):
        cli.main(["man", str(tmp_path / "file" / "below")], standalone_mode=False)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed_for_each_shell(shell):
    done = CliRunner().invoke(cli, ["completion", shell])
    assert done.exit_code == 0
    assert "_KFIT_COMPLETE" in done.output
    if (program := shutil.which(shell)) is not None:
        subprocess.run([program, "-n"], input=done.output, text=True, check=True)


def test_a_tab_key_shows_verbs_and_imports_none():
    words = "import sys; from k8s.cli import cli; from k8s.commands.cluster.completion import kubectl;"
    words += "print(*kubectl(cli, ['s']), *kubectl(cli, ['--na']), sep='\\n');"
    words += "print(*(m for m in sys.modules if m.startswith('k8s.commands.')), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    assert [line.partition("\t")[0] for line in done.stdout.splitlines()] == [
        "submit", "status", "schedule", ":4", "--namespace", ":4",
    ]  # fmt: skip
    assert set(done.stderr.split()) == {
        "k8s.commands.options",
        "k8s.commands.cluster",
        "k8s.commands.cluster.completion",
    }


def test_every_verb_is_in_the_launchers_page():
    page = PAGE.with_name("launcher.md").read_text()
    assert [verb for verb in VERBS if not re.search(rf"`{verb}\b", page)] == []

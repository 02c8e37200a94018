"""`python -m benchmarks.launcher`: goals, verdicts, and two checkouts in one run."""

from __future__ import annotations

import sys

import pytest

from benchmarks.launcher import Launcher
from benchmarks.timing import Figure, report


@pytest.mark.parametrize(("now", "code", "verdict"), [(0.1, 0, "met"), (0.1001, 1, "missed")])
def test_a_goal_that_is_missed_is_said_and_ends_with_1(capsys, now, code, verdict):
    figures = [Figure("plain", 9.0), Figure("help", now, before=0.3, limit=0.1)]
    assert report("launcher", figures) == code
    assert f"goal {verdict}: help: {now:.3f} s of at most 0.100 s" in capsys.readouterr().out


def test_each_checkout_runs_its_own_code(tmp_path):
    for name in ("before", "now"):
        (tmp_path / name / "k8s").mkdir(parents=True)
        (tmp_path / name / "k8s" / "__init__.py").touch()
        (tmp_path / name / "k8s" / "cli.py").write_text(f"import sys\ndef main(): print('{name}', *sys.argv[1:])")
    said = [Launcher(sys.executable, tmp_path / name).output("status", "x") for name in ("before", "now")]
    assert said == ["before status x\n", "now status x\n"]


def test_a_verb_that_fails_ends_the_benchmark_with_its_message(tmp_path):
    (tmp_path / "k8s").mkdir()
    (tmp_path / "k8s" / "__init__.py").touch()
    (tmp_path / "k8s" / "cli.py").write_text("def main(): raise SystemExit('no cluster')")
    with pytest.raises(SystemExit, match="no cluster"):
        Launcher(sys.executable, tmp_path).took_s("status", tries=1)

"""The trainer's command line before it does anything."""

import subprocess
import sys


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; from trainer.cli import cli; cli(['--help'], standalone_mode=False); "
    code += "print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    heavy = {"tensorflow", "keras", "kubernetes", "pyarrow", "numpy", "pydantic", "fsspec", "rich", "yaml"}
    assert heavy & set(done.stderr.split()) == set()


def test_check_and_statistics_never_import_tensorflow() -> None:
    code = (
        "import sys, trainer.run.check, trainer.feed.prepare, trainer.run.fit, trainer.run.progress;print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert {"tensorflow", "keras"} & set(done.stdout.split()) == set()


def test_a_word_that_is_no_command_is_configuration() -> None:
    done = subprocess.run([sys.executable, "-m", "trainer", "fti"], check=False, capture_output=True, text=True)
    assert done.returncode == 64
    assert "fti" in done.stderr
    assert "Traceback" not in done.stderr

"""The digest of a night: what decides its outcome, the code of an entrypoint included."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys
from trainer.config import Config
from trainer.nightly.digest import digest

config = Config.model_validate({
    "data": {"train": "d", "label": "y", "features": {"x": {"kind": "numeric"}}},
    "task": "binary", "model": {"entrypoint": sys.argv[1]}, "output": {"uri": "o"},
})
print(digest(config, "f", {}, {}))
"""


@pytest.mark.parametrize("entrypoint", ["own:build", "package.own:build"])
def test_the_code_of_an_entrypoint_in_the_working_folder_counts(tmp_path: Path, entrypoint: str) -> None:
    """As under a console script: `sys.path` begins with the script's folder, not with the working folder."""
    script = tmp_path / "bin" / "script.py"
    script.parent.mkdir()
    script.write_text(SCRIPT)
    code = (tmp_path / "work").joinpath(*entrypoint.partition(":")[0].split(".")).with_suffix(".py")
    code.parent.mkdir(parents=True)

    def digest() -> str:
        done = subprocess.run(
            [sys.executable, str(script), entrypoint], cwd=tmp_path / "work", capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    code.write_text("units = 1\n")
    first, again = digest(), digest()
    code.write_text("units = 2\n")
    assert len(first) == 64
    assert first == again
    assert digest() != first

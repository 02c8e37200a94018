"""What docs/library.md shows is what happens."""

import re
import subprocess
import sys
from pathlib import Path

from tests import sets

PAGE = Path(__file__).parents[2] / "docs" / "library.md"


def test_the_page_s_example_runs(tmp_path):
    data = sets.write(tmp_path / "data")
    sets.write_job(tmp_path / "job.yaml", sets.job(data, tmp_path / "out"))
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    shown = 'print("SEEN", history.history.keys(), history.epoch)'
    command = [sys.executable, "-c", f"{code}\n{shown}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=180)
    assert done.returncode == 0, done.stderr
    assert "SEEN dict_keys(['loss', 'val_loss']) [0, 1]" in done.stdout
    assert "ran out of data" not in done.stderr

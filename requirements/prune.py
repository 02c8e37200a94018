"""Deletes what training does not need from a folder of installed packages; the image's build runs it.

Headers, sources, static libraries and clang are for compiling against a package, tests are for its makers. No rule
names a platform: `python -m tests.image.platforms` tries them on the wheels of x86-64 and of arm64.
"""

import os
import re
import sys
from pathlib import Path

_NEEDLESS = re.compile(
    r"""( clang | tensorflow/(include | xla_aot_runtime_src)
        | pyarrow/(include | includes | src | tests) | numpy/_core/include | numpy/(.+/)?tests | h5py/tests
        | nvidia/[^/]+/include )/
      | (?! [^/]+\.dist-info/ ) .* \. (a | c | cc | cpp | cu | cuh | h | hh | hpp | inl | pxd | pxi | pyx) $""",
    re.VERBOSE,
)


def is_needless(path: str) -> bool:
    """Whether a file goes, by its path from the folder of packages; what lies beside a license stays."""
    return _NEEDLESS.match(path) is not None


def prune(packages: Path) -> int:
    """Deletes the files, and the folders that are left empty; returns how many bytes went."""
    freed = 0
    for folder, _, names in os.walk(packages, topdown=False):
        for path in [Path(folder, name) for name in names]:
            if is_needless(path.relative_to(packages).as_posix()):
                freed += path.lstat().st_size
                path.unlink()
        if not any(Path(folder).iterdir()):
            Path(folder).rmdir()
    return freed


if __name__ == "__main__":
    print(f"pruned: {prune(Path(sys.argv[1])) / 1e6:,.0f} MB")

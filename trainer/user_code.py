"""The code of users: where its modules are found, and which line of it an error came from."""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import os
import site
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any


def add_working_folder() -> None:
    """Puts the working folder first on `sys.path`, as `python -m` does; a console script leaves it out."""
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)


#: Folders of code that the job fetches.
_FETCHED: list[str] = []


@contextlib.contextmanager
def on_path(folders: Sequence[Path]) -> Iterator[None]:
    """Finds the modules of folders before all others, those of the working folder included."""
    add_working_folder()
    added = [str(folder) for folder in folders]
    sys.path[:0] = _FETCHED[:0] = added
    try:
        yield
    finally:
        for folder in added:
            sys.path.remove(folder)
            _FETCHED.remove(folder)


def environment() -> dict[str, str]:
    """The environment of a process that has to find what this one finds in its working folder and has fetched."""
    here = str(Path.cwd())
    path = os.environ.get("PYTHONPATH", "")
    own = [here] if here in sys.path and here not in path.split(os.pathsep) else []
    if not own and not _FETCHED:
        return dict(os.environ)
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [*_FETCHED, *own, path]))}


#: Folders and files of packages that a job names, which may be installed among the libraries.
_NAMED: set[str] = set()


def remember(module: str) -> None:
    """Counts the package of a module as the user's, wherever it is installed; all errors pass through Keras's own."""
    if module.partition(".")[0] in ("keras", "tensorflow"):
        return
    try:
        spec = importlib.util.find_spec(module.partition(".")[0])
    except (ImportError, ValueError):
        return
    if spec is not None:
        _NAMED.update(f"{folder}/" for folder in spec.submodule_search_locations or ())
        _NAMED.update([spec.origin] if spec.origin and not spec.submodule_search_locations else ())


def is_users(filename: str) -> bool:
    """Whether a file of a traceback belongs neither to a library nor to kfit."""
    if filename.startswith(tuple(_NAMED)):
        return True
    paths = sysconfig.get_paths()
    libraries = (paths["stdlib"], paths["platstdlib"], *site.getsitepackages(), str(Path(__file__).parent))
    return not filename.startswith((*libraries, "<")) and "__autograph_generated" not in filename


def defined_at(function: Callable[..., Any]) -> str:
    """Where a user's function begins, `file:line`; empty where that is not known."""
    code = getattr(inspect.unwrap(getattr(function, "func", function)), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code is not None and is_users(code.co_filename) else ""


def place_of(error: BaseException) -> str:
    """Where in a user's code an error came from: `file:line` of the innermost such frame, empty where there is none."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if is_users(f.filename)]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""

"""Runs the trainer's image as a pod would: read-only root, no capabilities, no network.

`KFIT_ENGINE` names another engine than the first of docker and podman that has it, `KFIT_IMAGE` another image.
"""

from __future__ import annotations

import functools
import os
import shlex
import shutil
import subprocess

IMAGE = os.environ.get("KFIT_IMAGE", "localhost/trainer:dev")
RESTRICTED = ("--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=none")


@functools.cache
def engine() -> tuple[str, ...]:
    """The command of the container engine that has the image; empty where none has."""
    if named := os.environ.get("KFIT_ENGINE"):
        return tuple(shlex.split(named))
    for name in ("docker", "podman"):
        if shutil.which(name) and not subprocess.run([name, "image", "inspect", IMAGE], capture_output=True).returncode:
            return (name,)
    return ()


def command(*words: str, flags: tuple[str, ...] = (), entrypoint: str = "") -> list[str]:
    """The command line of one container that is gone when it ends."""
    start = ("--entrypoint", entrypoint) if entrypoint else ()
    return [*engine(), "run", "--rm", "--pull=never", *RESTRICTED, *flags, *start, IMAGE, *words]


def run(*words: str, flags: tuple[str, ...] = (), entrypoint: str = "") -> subprocess.CompletedProcess[str]:
    """Runs a container to its end."""
    return subprocess.run(
        command(*words, flags=flags, entrypoint=entrypoint), capture_output=True, text=True, check=False
    )


def inspect(template: str) -> str:
    """What the engine tells about the image, by a Go template."""
    done = subprocess.run(
        [*engine(), "image", "inspect", "--format", template, IMAGE], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def why_not() -> str:
    """Why no container of the image can run here; empty where one can."""
    if not engine():
        return "neither docker nor podman has it; `make image` builds it"
    done = run("-c", "pass", entrypoint="python")
    # 125 to 127 are the engine's own: no such image, no right to start a container.
    return done.stderr.strip() if done.returncode in (125, 126, 127) else ""
